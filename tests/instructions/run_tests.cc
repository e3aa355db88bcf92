// SPDX-License-Identifier: Apache-2.0
#include "run_tests.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/check.h"

namespace lockstep::instructions {

void take_arguments(int argc, char** argv, bool (*parse)(std::string_view argument), const char* source) {
    testing::InitGoogleTest(&argc, argv);
    for (int i = 1; i < argc; ++i) {
        if (parse(argv[i])) continue;
        std::fprintf(stderr, "unknown argument %s; see the head of %s\n", argv[i], source);
        std::exit(2);
    }
}

int run_tests_with(Oracle*& oracle, void (*dump)()) {
    set_dump_hook(dump);
    auto made = Oracle::create();
    if (!made.ok()) {
        std::fprintf(stderr, "%s\n", made.error().message().c_str());
        return 1;
    }
    std::unique_ptr<Oracle> owner = made.take();
    oracle = owner.get();
    return RUN_ALL_TESTS();
}

}  // namespace lockstep::instructions
