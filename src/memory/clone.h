// SPDX-License-Identifier: Apache-2.0
// A copy of a running guest's memory as it is at one moment, the CUT, without a pause for its size.
//
//     made                 all pages are watched
//     take() ...           round 1: pages go out; those written meanwhile are noted
//     next_round()         those are to go out, all pages are watched anew
//     take() ...           round 2 ...                         while rounds get shorter
//     cut()                what was noted last is UNCOPIED; from here on the copy no longer changes
//     take() ...           the rest: the first write to an uncopied page queues the page as it was, the
//                          sender takes the others where they lie
//     kComplete
//
// Nothing is copied while the guest stands for next_round() or cut(): they mark pages and make the maps of
// translated code forget what may be written, whatever the size of the memory.
//
// Two threads. The guest's makes the clone, moves it from round to round, cuts, and unmakes it, each time while no
// instruction is under way, and no take() either. The sender's calls take(). They meet in two places:
//
//     rounds    a page that is written while it is read goes out torn, but it was noted before it was
//               written: it goes out again.
//     the rest  who claims an uncopied page (one atomic step) supplies it. The guest claims before it
//               writes, the sender after it has read; a sender that comes too late throws away what it has
//               read, and finds the page in the queue.
//
// The queue is bounded: where it is full the guest waits for the sender. Nothing here can be seen in the guest.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "base/bytes.h"
#include "memory/guest_memory.h"
#include "memory/page_bits.h"
#include "memory/page_queue.h"

namespace lockstep::memory {

class Clone final : private WriteWatcher {
  public:
    /// Called on the guest's thread while the queue is full: returns after the sender has taken something, or
    /// sooner.
    using WaitForRoom = std::function<void()>;
    static constexpr size_t kQueuePages = 4096;

    Clone(GuestMemory& memory, WaitForRoom wait_for_room, size_t queue_pages = kQueuePages);
    ~Clone() override;
    Clone(const Clone&) = delete;
    Clone& operator=(const Clone&) = delete;

    // The guest's thread; the round's pages need not have gone out.
    void next_round();
    void cut();

    enum class Taken : uint8_t {
        kMore,      ///< there is more, or the guest is about to queue a page
        kRound,     ///< the round is over
        kComplete,  ///< all of the memory as it was at the cut has gone out
        kVoid,      ///< no copy can be made: cancelled, or the guest's memory was replaced (a reset)
    };
    /// The sender's thread: appends records of pages (page_records.h) to `out`, until some `bytes` are in it or
    /// there are none. A page that comes again takes the place of the earlier one.
    Taken take(Bytes& out, size_t bytes);

    /// Any thread. The guest waits no longer.
    void cancel() { void_.store(true, std::memory_order_relaxed); }

    struct Progress {
        unsigned round = 1;
        bool cut = false;
        uint64_t sent = 0;     ///< pages that have gone out in all
        uint64_t left = 0;     ///< pages of this round, or since the cut, that are still to go out
        uint64_t written = 0;  ///< pages that the guest has written in this round
    };
    /// Any thread.
    Progress progress() const;
    /// The sender's thread, when a round is over: whether the next would be so much shorter that it is worth
    /// while before the cut.
    bool another_round_pays() const;

  private:
    void first_write(GuestPhys page) override;
    void memory_replaced() override { cancel(); }
    void find_used();
    void watch_anew();
    Taken take_of_round(Bytes& out, size_t bytes);
    Taken take_of_rest(Bytes& out, size_t bytes);
    void put(Bytes& out, uint64_t page, const uint8_t* contents);
    void put_from_memory(Bytes& out, uint64_t page);
    bool supply(Bytes& out, uint64_t page);

    GuestMemory& memory_;
    WaitForRoom wait_for_room_;
    PageBits pages_;            // to go out; since the cut: uncopied
    PageBits written_;          // noted in this round
    PageQueue queue_;           // since the cut
    bool used_found_ = false;   // pages_ has those of the first round
    uint64_t next_ = 0;         // the sender's place in pages_
    uint64_t round_pages_ = 0;  // of this round
    std::atomic<bool> taking_ = false;
    std::atomic<bool> void_ = false;
    std::atomic<bool> cut_ = false;
    std::atomic<unsigned> round_ = 1;
    std::atomic<uint64_t> sent_ = 0, left_ = 0, written_count_ = 0;
};

}  // namespace lockstep::memory
