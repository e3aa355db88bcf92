// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/pci/transport.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "record/fields.h"

namespace lockstep::devices::virtio {

namespace {

constexpr uint64_t kCommon = 0x0000, kStatus = 0x1000, kDevice = 0x2000, kNotify = 0x3000, kTable = 0x4000,
                   kPending = 0x5000, kSection = 0x1000;
constexpr uint32_t kNotifyStep = 4;

constexpr uint8_t kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 0x40;
constexpr uint8_t kReasonQueue = 1, kReasonConfig = 2;

// Capabilities (Virtio 1.2, 4.1.4).
constexpr uint8_t kVendorCapability = 9, kMsixCapability = 17;
enum CapabilityType : uint8_t { kCapCommon = 1, kCapNotify, kCapStatus, kCapDevice, kCapAccess };

constexpr uint16_t kMsixEnable = 1 << 15, kMsixMaskAll = 1 << 14;

// Registers of the common configuration (Virtio 1.2, 4.1.4.3).
enum CommonRegister : unsigned {
    kDeviceFeatureSelect = 0,
    kDeviceFeature = 4,
    kDriverFeatureSelect = 8,
    kDriverFeature = 12,
    kConfigVector = 16,
    kQueueCount = 18,
    kDeviceStatus = 20,
    kGeneration = 21,
    kQueueSelect = 22,
    kQueueSize = 24,
    kQueueVector = 26,
    kQueueEnable = 28,
    kQueueNotifyOffset = 30,
    kQueueDescriptors = 32,
    kQueueDriver = 40,
    kQueueDevice = 48,
    kCommonEnd = 56,
};

// Everything but length, next pointer and number: type, BAR, identifier, padding, offset, length.
Bytes vendor_capability(CapabilityType type, uint32_t offset, uint32_t length,
                        std::vector<uint32_t> more = {}) {
    Bytes body;
    ByteWriter out(body);
    out.fixed(static_cast<uint8_t>(16 + 4 * more.size()));
    out.fixed(type);
    out.fixed(uint32_t{0});
    out.fixed(offset);
    out.fixed(length);
    for (uint32_t word : more) out.fixed(word);
    return body;
}

// Replaces the low or the high half of a 64-bit address, or all of it.
void write_address(uint64_t& address, unsigned half, unsigned size, uint64_t value) {
    if (size == 8 && half == 0)
        address = value;
    else if (size == 4 && half == 0)
        address = (address & ~0xffffffffull) | static_cast<uint32_t>(value);
    else if (size == 4)
        address = (address & 0xffffffff) | value << 32;
}

}  // namespace

PciTransport::PciTransport(std::unique_ptr<Model> model, memory::GuestMemory& memory,
                           bus::MessageInterrupts& messages, bus::InterruptLine& line, PciPlace place)
    : model_(std::move(model)),
      memory_(memory),
      line_(line),
      msix_(messages, static_cast<unsigned>(model_->queue_sizes().size() + 1)) {
    for (uint16_t size : model_->queue_sizes()) queues_.emplace_back(memory, size);
    build_config(place);
    model_->attach(*this);
}

void PciTransport::build_config(PciPlace place) {
    uint16_t type = static_cast<uint16_t>(model_->type());
    uint32_t pci_class = model_->pci_class();
    config_.define<uint16_t>(kPciVendor, 0x1af4);
    config_.define<uint16_t>(kPciDevice, static_cast<uint16_t>(0x1040 + type));
    config_.define<uint16_t>(kPciCommand, kPciCommandMemory,
                             kPciCommandMemory | kPciCommandMaster | kPciCommandNoInterrupt);
    config_.define<uint16_t>(kPciStatus, 1 << 4);  // has capabilities
    config_.define<uint8_t>(kPciRevision, 1);
    config_.define<uint8_t>(kPciClass, static_cast<uint8_t>(pci_class));
    config_.define<uint16_t>(kPciClass + 1, static_cast<uint16_t>(pci_class >> 8));
    config_.define<uint32_t>(kPciBar0, place.window, ~static_cast<uint32_t>(kWindowSize - 1));
    config_.define<uint16_t>(kPciSubsystemVendor, 0x1af4);
    config_.define<uint16_t>(kPciSubsystem, static_cast<uint16_t>(0x40 + type));
    config_.define<uint8_t>(kPciInterruptLine, place.interrupt_line, 0xff);
    config_.define<uint8_t>(kPciInterruptPin, 1);

    Bytes msix_body;
    ByteWriter out(msix_body);
    out.fixed(static_cast<uint16_t>(msix_.vectors() - 1));
    out.fixed(static_cast<uint32_t>(kTable));
    out.fixed(static_cast<uint32_t>(kPending));
    msix_capability_ = config_.add_capability(kMsixCapability, msix_body);
    config_.define<uint16_t>(msix_capability_ + 2, static_cast<uint16_t>(msix_.vectors() - 1),
                             kMsixEnable | kMsixMaskAll);

    uint32_t device_size = static_cast<uint32_t>(model_->config().size());
    config_.add_capability(kVendorCapability, vendor_capability(kCapCommon, kCommon, kCommonEnd));
    config_.add_capability(kVendorCapability, vendor_capability(kCapStatus, kStatus, 1));
    if (device_size)
        config_.add_capability(kVendorCapability, vendor_capability(kCapDevice, kDevice, device_size));
    config_.add_capability(
        kVendorCapability,
        vendor_capability(kCapNotify, kNotify, static_cast<uint32_t>(queues_.size()) * kNotifyStep,
                          {kNotifyStep}));
    access_capability_ = config_.add_capability(kVendorCapability, vendor_capability(kCapAccess, 0, 0, {0}));
    config_.define<uint8_t>(access_capability_ + 4, 0, 0xff);   // BAR
    config_.define<uint32_t>(access_capability_ + 8, 0, ~0u);   // offset
    config_.define<uint32_t>(access_capability_ + 12, 0, ~0u);  // length
}

// ---- Life cycle

void PciTransport::reset() {
    config_.reset();
    msix_.reset();
    reset_device();
}

// A reset by the driver leaves the PCI function as it is.
void PciTransport::reset_device() {
    state_ = {};
    for (Queue& queue : queues_) queue.reset();
    model_->reset();
    update_line();
}

void PciTransport::save(ByteWriter& out) const {
    PciTransportState state = state_;
    state.config = config_.bytes();
    state.msix = msix_.state();
    for (const Queue& queue : queues_) state.queues.push_back(queue.state());
    record::write_fields(out, state);
    model_->save(out);
}

Result<void> PciTransport::load(ByteReader& in) {
    PciTransportState state;
    TRY(record::read_fields(in, state, name()));
    bool plausible = state.queues.size() == queues_.size() && state.msix.table.size() == msix_.vectors();
    for (size_t i = 0; plausible && i < queues_.size(); ++i)
        plausible = queues_[i].plausible(state.queues[i]);
    if (!plausible)
        return error("the saved state of {} is damaged or belongs to another configuration", name());
    config_.load(state.config);
    msix_.state() = std::move(state.msix);
    update_msix();
    for (size_t i = 0; i < queues_.size(); ++i) {
        queues_[i].state() = state.queues[i];
        queues_[i].use_event_index(state.driver_features & kFeatureEventIndex);
    }
    state.config = {};
    state.msix = {};
    state.queues.clear();
    state_ = std::move(state);
    return model_->load(in);
}

uint64_t PciTransport::offered() const {
    return model_->features() | kFeatureIndirect | kFeatureEventIndex | kFeatureVersion1;
}

bool PciTransport::running() const {
    constexpr uint8_t kRuns = kDriverOk | kFeaturesOk;
    return (state_.status & (kRuns | kNeedsReset)) == kRuns;
}

void PciTransport::write_status(uint8_t value) {
    if (value == 0) return reset_device();
    uint8_t before = state_.status;
    bool features_wanted = value & kFeaturesOk && !(before & kFeaturesOk);
    bool features_good = !(state_.driver_features & ~offered()) && state_.driver_features & kFeatureVersion1;
    if (features_wanted && !features_good) value &= static_cast<uint8_t>(~kFeaturesOk);
    state_.status = static_cast<uint8_t>(value & ~kNeedsReset) | (before & kNeedsReset);
    if (features_wanted && features_good)
        for (Queue& queue : queues_) queue.use_event_index(state_.driver_features & kFeatureEventIndex);
    if (running() && !(before & kDriverOk)) model_->started();
}

void PciTransport::fail() {
    if (state_.status & kNeedsReset) return;
    bool was_running = running();
    state_.status |= kNeedsReset;
    if (was_running) interrupt(state_.config_vector, kReasonConfig);
}

// ---- Interrupts

void PciTransport::used(unsigned number) {
    if (running() && queues_[number].take_interrupt())
        interrupt(queues_[number].state().vector, kReasonQueue);
}

void PciTransport::interrupt(uint16_t vector, uint8_t reason) {
    if (msix_.enabled()) {
        if (vector != kNoVector) msix_.send(vector);
        return;
    }
    state_.interrupt_status |= reason;
    update_line();
}

void PciTransport::update_line() {
    bool blocked = msix_.enabled() || config_.get<uint16_t>(kPciCommand) & kPciCommandNoInterrupt;
    line_.set_level(state_.interrupt_status && !blocked);
}

void PciTransport::update_msix() {
    uint16_t control = config_.get<uint16_t>(msix_capability_ + 2);
    msix_.set_control(control & kMsixEnable, control & kMsixMaskAll);
}

void PciTransport::notify(unsigned number) {
    if (running() && number < queues_.size() && queues_[number].state().enabled) model_->notified(number);
}

// ---- PCI configuration space

bus::PciFunction::MemoryRange PciTransport::memory_range() const {
    if (!(config_.get<uint16_t>(kPciCommand) & kPciCommandMemory)) return {};
    return {GuestPhys(config_.get<uint32_t>(kPciBar0) & ~static_cast<uint32_t>(kWindowSize - 1)),
            kWindowSize};
}

// The last word of the access capability is a window: what is read or written there goes to the register that
// the capability's offset names.
uint32_t PciTransport::read_config(unsigned offset, unsigned size) {
    if (offset == access_capability_ + 16) {
        uint32_t at = config_.get<uint32_t>(access_capability_ + 8),
                 length = config_.get<uint32_t>(access_capability_ + 12);
        if (config_.get<uint8_t>(access_capability_ + 4) == 0 && length == size && at < kWindowSize)
            return static_cast<uint32_t>(read_register(at, size));
        return ~0u;
    }
    return config_.read(offset, size);
}

void PciTransport::write_config(unsigned offset, unsigned size, uint32_t value) {
    if (offset == access_capability_ + 16) {
        uint32_t at = config_.get<uint32_t>(access_capability_ + 8),
                 length = config_.get<uint32_t>(access_capability_ + 12);
        if (config_.get<uint8_t>(access_capability_ + 4) == 0 && length == size && at < kWindowSize)
            write_register(at, size, value);
        return;
    }
    config_.write(offset, size, value);
    update_msix();
    update_line();
}

// ---- The window

uint64_t PciTransport::read_register(uint64_t offset, unsigned size) {
    uint64_t in_section = offset % kSection;
    switch (offset - in_section) {
        case kCommon:
            return in_section < kCommonEnd ? read_common(static_cast<unsigned>(in_section)) : 0;
        case kStatus: {
            if (in_section) return 0;
            uint8_t status = state_.interrupt_status;
            state_.interrupt_status = 0;
            update_line();
            return status;
        }
        case kDevice:
            return read_device_config(in_section, size);
        case kTable:
            return msix_.read_table(in_section, size);
        case kPending:
            return msix_.read_pending(in_section, size);
    }
    return 0;
}

void PciTransport::write_register(uint64_t offset, unsigned size, uint64_t value) {
    uint64_t in_section = offset % kSection;
    switch (offset - in_section) {
        case kCommon:
            write_common(static_cast<unsigned>(in_section), size, value);
            break;
        case kNotify:
            notify(static_cast<unsigned>(in_section / kNotifyStep));
            break;
        case kTable:
            msix_.write_table(in_section, size, value);
            break;
    }
}

uint64_t PciTransport::read_device_config(uint64_t offset, unsigned size) const {
    Bytes config = model_->config();
    uint64_t value = 0;
    if (offset < config.size())
        std::memcpy(&value, &config[offset], std::min<uint64_t>(size, config.size() - offset));
    return value;
}

uint64_t PciTransport::read_common(unsigned offset) const {
    switch (offset) {
        case kDeviceFeatureSelect:
            return state_.device_feature_select;
        case kDeviceFeature:
            return state_.device_feature_select < 2
                       ? static_cast<uint32_t>(offered() >> 32 * state_.device_feature_select)
                       : 0;
        case kDriverFeatureSelect:
            return state_.driver_feature_select;
        case kDriverFeature:
            return state_.driver_feature_select < 2
                       ? static_cast<uint32_t>(state_.driver_features >> 32 * state_.driver_feature_select)
                       : 0;
        case kConfigVector:
            return state_.config_vector;
        case kQueueCount:
            return queues_.size();
        case kDeviceStatus:
            return state_.status;
        case kGeneration:
            return 0;  // the configuration never changes
        case kQueueSelect:
            return state_.queue_select;
    }
    if (state_.queue_select >= queues_.size()) return 0;
    const QueueState& queue = queues_[state_.queue_select].state();
    switch (offset) {
        case kQueueSize:
            return queue.size;
        case kQueueVector:
            return queue.vector;
        case kQueueEnable:
            return queue.enabled;
        case kQueueNotifyOffset:
            return state_.queue_select;
        case kQueueDescriptors:
            return queue.descriptors;
        case kQueueDescriptors + 4:
            return queue.descriptors >> 32;
        case kQueueDriver:
            return queue.driver;
        case kQueueDriver + 4:
            return queue.driver >> 32;
        case kQueueDevice:
            return queue.device;
        case kQueueDevice + 4:
            return queue.device >> 32;
    }
    return 0;
}

uint16_t PciTransport::checked_vector(uint64_t value) const {
    return value < msix_.vectors() ? static_cast<uint16_t>(value) : kNoVector;
}

void PciTransport::write_common(unsigned offset, unsigned size, uint64_t value) {
    switch (offset) {
        case kDeviceFeatureSelect:
            state_.device_feature_select = static_cast<uint32_t>(value);
            return;
        case kDriverFeatureSelect:
            state_.driver_feature_select = static_cast<uint32_t>(value);
            return;
        case kDriverFeature:
            // What the driver writes stands as it is; write_status() judges it. Words past 64 bits have
            // nothing to offer.
            if (state_.status & kFeaturesOk || state_.driver_feature_select > 1) return;
            write_address(state_.driver_features, state_.driver_feature_select, 4,
                          static_cast<uint32_t>(value));
            return;
        case kConfigVector:
            state_.config_vector = checked_vector(value);
            return;
        case kDeviceStatus:
            write_status(static_cast<uint8_t>(value));
            return;
        case kQueueSelect:
            state_.queue_select = static_cast<uint16_t>(value);
            return;
    }
    if (state_.queue_select < queues_.size()) write_queue(offset, size, value);
}

void PciTransport::write_queue(unsigned offset, unsigned size, uint64_t value) {
    QueueState& queue = queues_[state_.queue_select].state();
    if (offset == kQueueVector) queue.vector = checked_vector(value);
    if (queue.enabled) return;  // its place is fixed until the device is reset
    switch (offset) {
        case kQueueSize:
            if (value <= queues_[state_.queue_select].max_size() && std::has_single_bit(value))
                queue.size = static_cast<uint16_t>(value);
            break;
        case kQueueEnable:
            queue.enabled = value == 1;
            break;
        case kQueueDescriptors:
        case kQueueDescriptors + 4:
            write_address(queue.descriptors, offset / 4 % 2, size, value);
            break;
        case kQueueDriver:
        case kQueueDriver + 4:
            write_address(queue.driver, offset / 4 % 2, size, value);
            break;
        case kQueueDevice:
        case kQueueDevice + 4:
            write_address(queue.device, offset / 4 % 2, size, value);
            break;
    }
}

}  // namespace lockstep::devices::virtio
