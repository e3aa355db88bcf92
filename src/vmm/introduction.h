// SPDX-License-Identifier: Apache-2.0
// The first words on a connection to a host daemon, before the replicas talk (see host_daemon.h).
//
//     owner                                     process started by the daemon
//       Introduction: what for, which VM ------------>
//       <------------------------------- Answer: yes or no, and why
//       replica messages (replica/message.h)  <------>
//
// An introduction begins with a magic number and a version, so that a stranger is refused with a sentence.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/strong.h"
#include "record/identity.h"
#include "vmm/settings.h"

namespace lockstep::vmm {

/// In bytes, of an introduction and of its answer. What a configuration may hold fits in
/// (vmm/settings_check.h).
inline constexpr size_t kLargestIntroduction = 256 << 10;

enum class Purpose : uint8_t {
    kQuery = 1,    ///< does this host run the VM? The answer accepts if it does.
    kProtect = 2,  ///< be the backup of the VM
};

struct Introduction {
    Purpose purpose = Purpose::kQuery;
    std::string build;        ///< must be the same on both sides, or the rest can't be trusted
    record::CpuIdentity cpu;  ///< must agree too
    std::string vm_name;
    uint64_t vm = 0;        ///< replica::Config::vm
    uint16_t udp_port = 0;  ///< where the owner takes heartbeats
    Bytes settings;         ///< VmSettings, for kProtect
    Term term{};            ///< the owner's, for kProtect
    std::string claimant;   ///< its name at the arbiter, by which it has won that term

    template <typename Codec>
    void fields(Codec& codec) {
        codec(purpose, build, cpu, vm_name, vm, udp_port, settings, term, claimant);
    }
};

struct Answer {
    bool accepted = false;
    std::string sentence;   ///< why not, or who runs the VM
    uint16_t udp_port = 0;  ///< where the backup takes heartbeats

    template <typename Codec>
    void fields(Codec& codec) {
        codec(accepted, sentence, udp_port);
    }
};

Bytes encode_introduction(const Introduction& introduction);
Result<Introduction> decode_introduction(ByteSpan frame);
Bytes encode_answer(const Answer& answer);
Result<Answer> decode_answer(ByteSpan frame);

}  // namespace lockstep::vmm
