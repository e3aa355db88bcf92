// SPDX-License-Identifier: Apache-2.0
// Virtio over PCI, modern only (Virtio 1.2, 4.1), with MSI-X and, for a driver without it, an interrupt line.
//
// Everything is in one memory window, BAR 0:
//
//     0000  common configuration
//     1000  interrupt status
//     2000  the device's own configuration
//     3000  notifications, 4 bytes a queue
//     4000  MSI-X table
//     5000  MSI-X pending bits
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "bus/device.h"
#include "bus/pci_bus.h"
#include "devices/pci/config_space.h"
#include "devices/virtio/model.h"
#include "devices/virtio/pci/msix.h"

namespace lockstep::devices::virtio {

inline constexpr uint64_t kWindowSize = 0x8000;

struct PciTransportState {
    std::array<uint8_t, 256> config{};
    uint32_t device_feature_select = 0;
    uint32_t driver_feature_select = 0;
    uint64_t driver_features = 0;
    uint16_t config_vector = kNoVector;
    uint16_t queue_select = 0;
    uint8_t status = 0;
    uint8_t interrupt_status = 0;
    MsixState msix;
    std::vector<QueueState> queues;
    template <typename Codec>
    void fields(Codec& codec) {
        codec(config, device_feature_select, driver_feature_select, driver_features, config_vector,
              queue_select, status, interrupt_status, msix, queues);
    }
};

struct PciPlace {
    uint32_t window = 0;         ///< where BAR 0 is at power-on
    uint8_t interrupt_line = 0;  ///< as the firmware of a PC would write it into the header
};

class PciTransport : public bus::Device,
                     public bus::PciFunction,
                     public bus::RegisterHandler,
                     private Transport {
  public:
    PciTransport(std::unique_ptr<Model> model, memory::GuestMemory& memory, bus::MessageInterrupts& messages,
                 bus::InterruptLine& line, PciPlace place);

    Model& model() { return *model_; }

    std::string_view name() const override { return model_->name(); }
    void reset() override;
    void save(ByteWriter& out) const override;
    Result<void> load(ByteReader& in) override;
    void input(const record::Entry& entry) override { model_->input(entry); }
    size_t input_room() const override { return model_->input_room(); }

    uint32_t read_config(unsigned offset, unsigned size) override;
    void write_config(unsigned offset, unsigned size, uint32_t value) override;
    MemoryRange memory_range() const override;
    bus::RegisterHandler* memory_handler() override { return this; }

    uint64_t read_register(uint64_t offset, unsigned size) override;
    void write_register(uint64_t offset, unsigned size, uint64_t value) override;

  private:
    // What the model sees.
    Queue& queue(unsigned number) override { return queues_[number]; }
    memory::GuestMemory& memory() override { return memory_; }
    bool negotiated(uint64_t feature) const override { return state_.driver_features & feature; }
    bool running() const override;
    void used(unsigned queue) override;
    void fail() override;

    void build_config(PciPlace place);
    void reset_device();
    void write_status(uint8_t value);
    uint64_t offered() const;
    void interrupt(uint16_t vector, uint8_t reason);
    void update_line();
    void update_msix();
    void notify(unsigned queue);

    uint64_t read_common(unsigned offset) const;
    void write_common(unsigned offset, unsigned size, uint64_t value);
    void write_queue(unsigned offset, unsigned size, uint64_t value);
    uint16_t checked_vector(uint64_t value) const;
    uint64_t read_device_config(uint64_t offset, unsigned size) const;

    std::unique_ptr<Model> model_;
    memory::GuestMemory& memory_;
    bus::InterruptLine& line_;
    PciConfigSpace config_;
    unsigned msix_capability_ = 0;
    unsigned access_capability_ = 0;  // VIRTIO_PCI_CAP_PCI_CFG
    Msix msix_;
    std::vector<Queue> queues_;
    PciTransportState state_;  // config, msix and queues are filled in by save()
};

}  // namespace lockstep::devices::virtio
