// SPDX-License-Identifier: Apache-2.0
#include "base/flight_recorder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/check.h"

namespace lockstep {
namespace {

TEST(FlightRecorder, ShowsEventsInOrderWithTheirNumbers) {
    FlightRecorder recorder;
    EXPECT_EQ(recorder.text(), "");
    recorder.record(FlightEvent::kLive, Icount(100), 200, 0);
    recorder.record(FlightEvent::kEntry, Icount(150), 0x20, 0x41);
    std::string text = recorder.text();
    size_t live = text.find("icount 100"), entry = text.find("icount 150");
    ASSERT_NE(live, std::string::npos) << text;
    ASSERT_NE(entry, std::string::npos) << text;
    EXPECT_LT(live, entry);
    EXPECT_NE(text.find("kind 0x20, device 0x41"), std::string::npos) << text;
    EXPECT_EQ(std::ranges::count(recorder.text(1), '\n'), 1);
    EXPECT_NE(recorder.text(1).find("icount 150"), std::string::npos);
}

TEST(FlightRecorder, KeepsTheLastEvents) {
    FlightRecorder recorder;
    for (uint64_t i = 0; i < FlightRecorder::kEvents + 10; ++i)
        recorder.record(FlightEvent::kMark, Icount(i));
    std::string text = recorder.text();
    EXPECT_EQ(static_cast<size_t>(std::ranges::count(text, '\n')), FlightRecorder::kEvents);
    EXPECT_EQ(text.find("icount 9 "), std::string::npos);
    EXPECT_NE(text.find("icount 10 "), std::string::npos);
    EXPECT_EQ(recorder.written(), FlightRecorder::kEvents + 10);
}

TEST(FlightRecorderDeathTest, IsPrintedByAFailedCheck) {
    FlightRecorder recorder;
    recorder.record(FlightEvent::kOutput, Icount(77), 14, 2);
    recorder.dump_on_failed_check();
    EXPECT_DEATH(CHECK(false, "planted"), "planted(.|\n)*the last of 1 events(.|\n)*icount 77 .*output made");
}

TEST(FlightRecorderDeathTest, AGoneRecorderIsNotPrinted) {
    { FlightRecorder().dump_on_failed_check(); }
    EXPECT_DEATH(CHECK(false, "planted"), "planted\n$");
}

}  // namespace
}  // namespace lockstep
