// SPDX-License-Identifier: Apache-2.0
#include "host/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/check.h"

namespace lockstep::host {

namespace {

constexpr uint64_t kForever = ~uint64_t{0};
// Numbers of the loop's own descriptors; watches start above.
constexpr uint64_t kWakeId = 1;
constexpr uint64_t kTimerId = 2;
constexpr uint64_t kFirstId = 3;

uint32_t epoll_events(Interest interest) {
    switch (interest) {
        case Interest::kNone:
            return 0;
        case Interest::kRead:
            return EPOLLIN;
        case Interest::kWrite:
            return EPOLLOUT;
        case Interest::kReadWrite:
            return EPOLLIN | EPOLLOUT;
    }
    return 0;
}

timespec to_timespec(uint64_t ns) {
    return {static_cast<time_t>(ns / kNsPerSecond), static_cast<long>(ns % kNsPerSecond)};
}

/// When a wait that begins now ends, and how long it still lasts.
uint64_t end_of(uint64_t timeout_ns) {
    return timeout_ns == kForever ? kForever : monotonic_ns() + timeout_ns;
}
uint64_t time_until(uint64_t end_ns) {
    if (end_ns == kForever) return kForever;
    uint64_t now_ns = monotonic_ns();
    return now_ns < end_ns ? end_ns - now_ns : 0;
}

}  // namespace

Watch::Watch(Watch&& other) noexcept : loop_(std::exchange(other.loop_, nullptr)), id_(other.id_) {}

Watch& Watch::operator=(Watch&& other) noexcept {
    if (this != &other) {
        reset();
        loop_ = std::exchange(other.loop_, nullptr);
        id_ = other.id_;
    }
    return *this;
}

void Watch::set_interest(Interest interest) {
    if (loop_) loop_->change_interest(id_, interest);
}

void Watch::reset() {
    if (EventLoop* loop = std::exchange(loop_, nullptr)) loop->unwatch(id_);
}

Timer::Timer(Timer&& other) noexcept
    : loop_(std::exchange(other.loop_, nullptr)), deadline_ns_(other.deadline_ns_), id_(other.id_) {}

Timer& Timer::operator=(Timer&& other) noexcept {
    if (this != &other) {
        reset();
        loop_ = std::exchange(other.loop_, nullptr);
        deadline_ns_ = other.deadline_ns_;
        id_ = other.id_;
    }
    return *this;
}

void Timer::reset() {
    if (EventLoop* loop = std::exchange(loop_, nullptr)) loop->cancel(deadline_ns_, id_);
}

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
    std::unique_ptr<EventLoop> loop(new EventLoop);
    loop->epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
    loop->wake_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    loop->timer_ = FileDescriptor(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!loop->epoll_ || !loop->wake_ || !loop->timer_)
        return error("cannot make an event loop: {}; raise the limit of open files (ulimit -n)",
                     std::strerror(errno));
    loop->next_id_ = kFirstId;
    for (auto [fd, id] : {std::pair{loop->wake_.get(), kWakeId}, {loop->timer_.get(), kTimerId}}) {
        // Each write and each expiry is one event: what they have counted needn't be read.
        epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = id}};
        CHECK(epoll_ctl(loop->epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
    }
    return loop;
}

EventLoop::~EventLoop() = default;

void EventLoop::run() {
    for (;;) {
        {
            std::lock_guard lock(mutex_);
            if (std::exchange(stopped_, false)) return;
        }
        wait_and_dispatch(kForever);
    }
}

void EventLoop::run_once(uint64_t timeout_ns) { wait_and_dispatch(timeout_ns); }

void EventLoop::stop() {
    post([this] {
        std::lock_guard lock(mutex_);
        stopped_ = true;
    });
}

void EventLoop::post(Callback work) {
    bool wake, resting;
    {
        std::lock_guard lock(mutex_);
        posted_.push_back(std::move(work));
        wake = !std::exchange(woken_, true);
        resting = std::exchange(resting_, false);
    }
    if (resting) return rest_ends_.notify_one();
    if (!wake) return;
    uint64_t one = 1;
    while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
}

Watch EventLoop::watch(int fd, Interest interest, std::function<void(Ready)> callback) {
    uint64_t id = next_id_++;
    auto watched = std::make_shared<Watched>(Watched{fd, std::move(callback), Interest::kNone});
    set_epoll(id, *watched, interest);
    watched->interest = interest;
    watches_[id] = std::move(watched);
    return Watch(this, id);
}

Timer EventLoop::call_after(uint64_t delay_ns, Callback callback) {
    return call_at(now_ns() + delay_ns, std::move(callback));
}

Timer EventLoop::call_at(uint64_t deadline_ns, Callback callback) {
    uint64_t id = next_id_++;
    timers_.emplace(TimerKey{deadline_ns, id}, std::move(callback));
    return Timer(this, deadline_ns, id);
}

void EventLoop::wait_and_dispatch(uint64_t timeout_ns) {
    arm_timer();
    std::array<epoll_event, 64> events;
    if (!end_of_round_.empty()) timeout_ns = 0;
    uint64_t end_ns = end_of(timeout_ns);
    int count = poll_for_events(events, end_ns);
    if (count == 0) count = wait_for_events(events, rest(end_ns) ? 0 : time_until(end_ns));
    for (int i = 0; i < count; i++) {
        const epoll_event& event = events[static_cast<size_t>(i)];
        uint64_t id =
            event.data.u64;  // a copy: the kernel's structure is packed, its fields may be misaligned
        if (id == kWakeId) {
            run_posted();
        } else if (id == kTimerId) {
            run_timers();
        } else if (auto found = watches_.find(id); found != watches_.end()) {
            bool broken = event.events & (EPOLLERR | EPOLLHUP);
            std::shared_ptr<Watched> watched = found->second;  // the callback may end its own watch
            watched->callback({.readable = broken || (event.events & EPOLLIN),
                               .writable = broken || (event.events & EPOLLOUT)});
        }
    }
    for (Callback& work : std::exchange(end_of_round_, {})) work();
}

// Other loops have the same priority: the one that is to answer perhaps waits for this processor.
int EventLoop::poll_for_events(std::span<epoll_event> events, uint64_t end_ns) {
    int count = 0;
    while (count == 0 && polls_ && polls_() && time_until(end_ns) > 0) {
        count = wait_for_events(events, 0);
        if (count == 0) std::this_thread::yield();
    }
    return count;
}

/// Whether the thread has rested. What was posted meanwhile has been done.
bool EventLoop::rest(uint64_t end_ns) {
    if (!rests_) return false;
    {
        std::unique_lock lock(mutex_);  // for rests_, too: what it looks at may change just before end_rest()
        uint64_t longest_ns = std::min(rests_(), time_until(end_ns));
        if (longest_ns == 0 || !posted_.empty()) return false;
        resting_ = true;
        rest_ends_.wait_for(lock, std::chrono::nanoseconds(longest_ns), [this] { return !resting_; });
        resting_ = false;
    }
    run_posted();
    return true;
}

void EventLoop::end_rest() {
    {
        std::lock_guard lock(mutex_);
        if (!std::exchange(resting_, false)) return;
    }
    rest_ends_.notify_one();
}

/// How many events there are; 0 also after a signal.
int EventLoop::wait_for_events(std::span<epoll_event> events, uint64_t timeout_ns) {
    timespec timeout = to_timespec(timeout_ns);
    int count = epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                             timeout_ns == kForever ? nullptr : &timeout, nullptr);
    CHECK(count >= 0 || errno == EINTR, "epoll_pwait2 failed: {}", std::strerror(errno));
    return std::max(count, 0);
}

void EventLoop::run_posted() {
    std::vector<Callback> work;
    {
        std::lock_guard lock(mutex_);
        work.swap(posted_);
        woken_ = false;
    }
    for (Callback& callback : work) callback();
}

void EventLoop::run_timers() {
    armed_ns_ = 0;
    uint64_t now = now_ns();
    // A timer that a callback adds for "now" waits for the next round, so that descriptors get their turn.
    uint64_t first_new = next_id_;
    for (auto at = timers_.begin(); at != timers_.end() && at->first.first <= now;) {
        if (at->first.second >= first_new) {
            ++at;
            continue;
        }
        Callback callback = std::move(at->second);
        TimerKey key = at->first;
        timers_.erase(at);
        callback();
        at = timers_.upper_bound(key);
    }
}

void EventLoop::arm_timer() {
    if (timers_.empty()) return;
    uint64_t earliest = std::max<uint64_t>(timers_.begin()->first.first, 1);
    // Timers come and go more often than they expire: one look too early costs less than a call for each.
    if (armed_ns_ != 0 && armed_ns_ <= earliest) return;
    armed_ns_ = earliest;
    itimerspec when{.it_interval = {}, .it_value = to_timespec(earliest)};
    CHECK(timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) == 0);
}

/// epoll reports hang-ups whether asked or not, so a watch without interest leaves it: it would spin
/// otherwise.
void EventLoop::set_epoll(uint64_t id, const Watched& watched, Interest interest) {
    if (interest == watched.interest) return;
    int operation = EPOLL_CTL_MOD;
    if (interest == Interest::kNone) operation = EPOLL_CTL_DEL;
    if (watched.interest == Interest::kNone) operation = EPOLL_CTL_ADD;
    epoll_event event{.events = epoll_events(interest), .data = {.u64 = id}};
    CHECK(epoll_ctl(epoll_.get(), operation, watched.fd, &event) == 0, "descriptor {} can't be watched: {}",
          watched.fd, std::strerror(errno));
}

void EventLoop::change_interest(uint64_t id, Interest interest) {
    auto found = watches_.find(id);
    CHECK(found != watches_.end());
    set_epoll(id, *found->second, interest);
    found->second->interest = interest;
}

void EventLoop::unwatch(uint64_t id) {
    auto found = watches_.find(id);
    if (found == watches_.end()) return;
    if (found->second->interest != Interest::kNone)
        epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second->fd, nullptr);
    watches_.erase(found);
}

void EventLoop::cancel(uint64_t deadline_ns, uint64_t id) { timers_.erase({deadline_ns, id}); }

}  // namespace lockstep::host
