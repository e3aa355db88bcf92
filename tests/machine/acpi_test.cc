// SPDX-License-Identifier: Apache-2.0
#include "machine/acpi.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace lockstep::machine {
namespace {

class AcpiTest : public testing::Test {
  protected:
    template <typename T>
    T get(uint64_t address) const {
        T value{};
        EXPECT_LE(address - kAcpiStart.value() + sizeof value, area_.size());
        std::memcpy(&value, &area_.at(address - kAcpiStart.value()), sizeof value);
        return value;
    }
    std::string signature(uint64_t address) const {
        return {reinterpret_cast<const char*>(&area_.at(address - kAcpiStart.value())), 4};
    }
    uint8_t sum(uint64_t address, size_t size) const {
        uint8_t total = 0;
        for (size_t i = 0; i < size; ++i) total = static_cast<uint8_t>(total + get<uint8_t>(address + i));
        return total;
    }
    /// Address of each table that the root names, the DSDT among them.
    std::map<std::string, uint64_t> tables() const {
        std::map<std::string, uint64_t> found;
        uint64_t xsdt = get<uint64_t>(kAcpiStart.value() + 24);
        found[signature(xsdt)] = xsdt;
        for (uint64_t at = xsdt + 36; at < xsdt + get<uint32_t>(xsdt + 4); at += 8)
            found[signature(get<uint64_t>(at))] = get<uint64_t>(at);
        found["DSDT"] = get<uint64_t>(found.at("FACP") + 140);
        return found;
    }

    const Bytes area_ = acpi_tables();
};

TEST_F(AcpiTest, RootPointer) {
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(area_.data()), 8), "RSD PTR ");
    EXPECT_EQ(sum(kAcpiStart.value(), 20), 0);
    EXPECT_EQ(sum(kAcpiStart.value(), 36), 0);
    EXPECT_EQ(area_[15], 2);
    EXPECT_LE(area_.size(), kAcpiSize);
}

TEST_F(AcpiTest, EveryTableIsThereAndSumsToZero) {
    auto found = tables();
    for (const char* name : {"XSDT", "FACP", "APIC", "HPET", "DSDT"}) {
        ASSERT_TRUE(found.count(name)) << name;
        EXPECT_EQ(signature(found[name]), name);
        EXPECT_EQ(sum(found[name], get<uint32_t>(found[name] + 4)), 0) << name;
    }
    EXPECT_EQ(signature(get<uint32_t>(found["FACP"] + 36)), "FACS");
    EXPECT_EQ(get<uint32_t>(found["FACP"] + 36) % 64, 0u);
}

TEST_F(AcpiTest, FixedDescriptionNamesThePowerRegisters) {
    uint64_t fadt = tables().at("FACP");
    EXPECT_EQ(get<uint32_t>(fadt + 4), 276u);
    EXPECT_EQ(get<uint16_t>(fadt + 46), 9u);
    EXPECT_EQ(get<uint32_t>(fadt + 56), 0x600u);
    EXPECT_EQ(get<uint32_t>(fadt + 64), 0x604u);
    EXPECT_EQ(get<uint64_t>(fadt + 152), 0x600u);
    EXPECT_EQ(get<uint64_t>(fadt + 176), 0x604u);
    EXPECT_EQ(get<uint64_t>(fadt + 120), 0xcf9u);
    EXPECT_EQ(get<uint8_t>(fadt + 128), 6u);
    EXPECT_TRUE(get<uint32_t>(fadt + 112) & 1 << 10) << "the reset register is supported";
    EXPECT_FALSE(get<uint32_t>(fadt + 112) & 1 << 4) << "the power button is a fixed one";
}

TEST_F(AcpiTest, ApicTableNamesOneProcessorAndOneIoapic) {
    uint64_t madt = tables().at("APIC");
    std::map<int, int> count;
    for (uint64_t at = madt + 44; at < madt + get<uint32_t>(madt + 4); at += get<uint8_t>(at + 1)) {
        ASSERT_GT(get<uint8_t>(at + 1), 0);
        ++count[get<uint8_t>(at)];
    }
    EXPECT_EQ(get<uint32_t>(madt + 36), 0xfee00000u);
    EXPECT_EQ(count, (std::map<int, int>{{0, 1}, {1, 1}, {2, 2}}));
}

}  // namespace
}  // namespace lockstep::machine
