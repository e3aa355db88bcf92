// SPDX-License-Identifier: Apache-2.0
// The event loop: one thread that waits for descriptors, timers and work from other threads.
//
// Goals: nothing spins (the thread sleeps in epoll_wait until something is due, but where poll_while() asks
// for more haste, or rest_for() for less); every backend of this room calls back on this one thread, so that
// the backends need no locks; a callback may destroy any watch or timer, its own included.
//
// Only post(), stop() and end_rest() may be called from other threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "host/clock.h"
#include "host/file_descriptor.h"

struct epoll_event;

namespace lockstep::host {

using Callback = std::function<void()>;

/// What a watch waits for. With kNone it is deaf even to a hang-up.
enum class Interest : uint8_t { kNone, kRead, kWrite, kReadWrite };

/// What a watched descriptor is ready for. A hang-up or an error sets both: the next call on it says which.
struct Ready {
    bool readable = false;
    bool writable = false;
};

class EventLoop;

/// A descriptor being watched; the watch ends with this object. The descriptor must stay open until then.
class Watch {
  public:
    Watch() = default;
    ~Watch() { reset(); }
    Watch(Watch&& other) noexcept;
    Watch& operator=(Watch&& other) noexcept;

    explicit operator bool() const { return loop_ != nullptr; }
    /// Changes what is waited for.
    void set_interest(Interest interest);
    /// Ends the watch.
    void reset();

  private:
    friend class EventLoop;
    Watch(EventLoop* loop, uint64_t id) : loop_(loop), id_(id) {}
    EventLoop* loop_ = nullptr;
    uint64_t id_ = 0;
};

/// A callback that is due once; destroying this object cancels it.
class Timer {
  public:
    Timer() = default;
    ~Timer() { reset(); }
    Timer(Timer&& other) noexcept;
    Timer& operator=(Timer&& other) noexcept;
    /// Cancels; nothing happens where the timer has already fired.
    void reset();

  private:
    friend class EventLoop;
    Timer(EventLoop* loop, uint64_t deadline_ns, uint64_t id)
        : loop_(loop), deadline_ns_(deadline_ns), id_(id) {}
    EventLoop* loop_ = nullptr;
    uint64_t deadline_ns_ = 0;
    uint64_t id_ = 0;
};

class EventLoop {
  public:
    static Result<std::unique_ptr<EventLoop>> create();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    /// Calls back until stop() is called.
    void run();
    /// Waits at most `timeout_ns` for something to do and does it.
    void run_once(uint64_t timeout_ns);
    /// Makes run() return once the callbacks that are due have been called. From any thread.
    void stop();

    /// Calls `work` on the loop's thread, in the order of the posts. From any thread.
    void post(Callback work);

    /// Calls `callback` whenever `fd` (not owned) is ready. Level-triggered.
    Watch watch(int fd, Interest interest, std::function<void(Ready)> callback);
    /// Calls `work` when what is ready now has been seen to: for what is better done once for many callbacks.
    /// On the loop's thread.
    void at_end_of_round(Callback work) { end_of_round_.push_back(std::move(work)); }

    /// Calls back once, `delay_ns` from now or at a time of monotonic_ns().
    [[nodiscard]] Timer call_after(uint64_t delay_ns, Callback callback);
    [[nodiscard]] Timer call_at(uint64_t deadline_ns, Callback callback);

    /// As long as `wanted` says so, the thread doesn't sleep but looks again and again, so that nobody has to
    /// wake it up. From the loop's thread.
    void poll_while(std::function<bool()> wanted) { polls_ = std::move(wanted); }

    /// Asked before the thread sleeps: for so long it may leave everything but posted work lie. Then, or when
    /// work is posted or end_rest() is called, it sees to all that is due. 0: it is woken up by whatever
    /// comes. From the loop's thread; `longest_ns` calls nothing of the loop but now_ns().
    void rest_for(std::function<uint64_t()> longest_ns) { rests_ = std::move(longest_ns); }
    /// From any thread.
    void end_rest();

    /// The loop's clock; the same as monotonic_ns().
    uint64_t now_ns() const { return monotonic_ns(); }

  private:
    friend class Watch;
    friend class Timer;

    struct Watched {
        int fd;
        std::function<void(Ready)> callback;
        Interest interest;
    };
    using TimerKey = std::pair<uint64_t, uint64_t>;  // deadline, number

    EventLoop() = default;
    void wait_and_dispatch(uint64_t timeout_ns);
    bool rest(uint64_t end_ns);
    int poll_for_events(std::span<epoll_event> events, uint64_t end_ns);
    int wait_for_events(std::span<epoll_event> events, uint64_t timeout_ns);
    void run_posted();
    void run_timers();
    void arm_timer();
    void set_epoll(uint64_t id, const Watched& watched, Interest interest);
    void change_interest(uint64_t id, Interest interest);
    void unwatch(uint64_t id);
    void cancel(uint64_t deadline_ns, uint64_t id);

    FileDescriptor epoll_;
    FileDescriptor wake_;   // eventfd
    FileDescriptor timer_;  // timerfd, armed for the earliest of timers_
    uint64_t armed_ns_ = 0;
    uint64_t next_id_ = 1;
    std::unordered_map<uint64_t, std::shared_ptr<Watched>> watches_;
    std::map<TimerKey, Callback> timers_;
    std::vector<Callback> end_of_round_;
    std::function<bool()> polls_;
    std::function<uint64_t()> rests_;

    std::mutex mutex_;  // guards what follows
    std::vector<Callback> posted_;
    std::condition_variable rest_ends_;
    bool resting_ = false;
    bool woken_ = false;
    bool stopped_ = false;
};

}  // namespace lockstep::host
