#include "host/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace lockstep::host {

Result<std::unique_ptr<SignalSource>> SignalSource::create(EventLoop& loop, const std::vector<int>& signals,
                                                           std::function<void(int)> callback) {
    sigset_t set;
    sigemptyset(&set);
    for (int signal : signals) sigaddset(&set, signal);
    FileDescriptor descriptor(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!descriptor)
        return error("cannot receive signals: {}; raise the limit of open files", std::strerror(errno));
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    for (int harmless : {SIGPIPE, SIGXFSZ}) std::signal(harmless, SIG_IGN);
    return std::unique_ptr<SignalSource>(new SignalSource(loop, std::move(descriptor), std::move(callback)));
}

SignalSource::SignalSource(EventLoop& loop, FileDescriptor descriptor, std::function<void(int)> callback)
    : descriptor_(std::move(descriptor)),
      callback_(std::move(callback)),
      watch_(loop.watch(descriptor_.get(), Interest::kRead, [this](Ready) { receive(); })) {}

void SignalSource::receive() {
    signalfd_siginfo info{};
    if (::read(descriptor_.get(), &info, sizeof info) == sizeof info)
        callback_(static_cast<int>(info.ssi_signo));
}

}  // namespace lockstep::host
