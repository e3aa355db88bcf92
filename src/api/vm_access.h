// SPDX-License-Identifier: Apache-2.0
// The VMs of this host, asked by their control sockets without waiting: one that hangs keeps nobody else from an answer.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "control/problem.h"
#include "host/event_loop.h"

namespace lockstep::api {

using control::Json;

class VmAccess {
  public:
    /// Of one that hangs.
    static constexpr uint64_t kTimeoutNs = 5 * host::kNsPerSecond;
    using Answered = std::function<void(const Json& answer)>;

    /// `runtime_base`: see host/runtime_folder.h.
    VmAccess(host::EventLoop& loop, std::string runtime_base);
    ~VmAccess();

    std::vector<std::string> names() const;
    bool runs(const std::string& vm) const;
    /// `answered` comes once, later, with the VM's answer or a problem; not after this object is gone.
    void ask(const std::string& vm, const Json& request, Answered answered);
    /// The states of all, in the order of their names. One that doesn't answer has its name and a problem.
    void ask_all(std::function<void(const std::vector<Json>& states)> answered);

  private:
    class Exchange;
    void end(Exchange* exchange, const Json& answer);

    host::EventLoop& loop_;
    std::string runtime_base_;
    std::list<std::unique_ptr<Exchange>> exchanges_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace lockstep::api
