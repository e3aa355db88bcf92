// SPDX-License-Identifier: Apache-2.0
#include "host/signals.h"

#include <pthread.h>

namespace lockstep::host {

SignalSource::SignalSource(EventLoop& loop, const std::vector<int>& signals,
                           std::function<void(int)> callback)
    : loop_(loop),
      any_signal_(signals.front()),
      callback_(std::make_shared<std::function<void(int)>>(std::move(callback))) {
    sigemptyset(&signals_);
    for (int signal : signals) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    for (int harmless : {SIGPIPE, SIGXFSZ}) std::signal(harmless, SIG_IGN);
    thread_ = std::thread([this] { wait(); });
    pthread_setname_np(thread_.native_handle(), "signals");
}

SignalSource::~SignalSource() {
    stopping_ = true;
    pthread_kill(thread_.native_handle(), any_signal_);
    thread_.join();
}

void SignalSource::wait() {
    for (int signal = 0;;) {
        if (sigwait(&signals_, &signal) != 0) continue;
        if (stopping_) return;
        loop_.post([callback = std::weak_ptr(callback_), signal] {
            if (auto alive = callback.lock()) (*alive)(signal);
        });
    }
}

}  // namespace lockstep::host
