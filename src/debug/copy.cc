// SPDX-License-Identifier: Apache-2.0
#include "debug/copy.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "host/message_socket.h"
#include "record/fields.h"

namespace lockstep::debug {

namespace {

enum class Ask : uint8_t {
    kFork,
    kInterrupt,
    kRun,
    kFindLast,
    kFindChange,
    kProcessor,
    kLinear,
    kPhysical,
    kWhere,
    kDescribe,
};

}  // namespace

struct Copy::Request {
    Ask ask{};
    Icount until;
    Stops stops;
    Here here{};
    uint64_t steps = 0;
    std::vector<Range> ranges;
    uint64_t at = 0, size = 0;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(ask, until, stops, here, steps, ranges, at, size);
    }
};

struct Copy::Reply {
    std::string refused;  ///< why nothing came of it; empty: it was done
    Arrival arrival;
    bool changed = false;
    Icount from, to;  ///< of a change
    Bytes bytes;
    std::vector<Range> ranges;
    std::string text;

    template <typename Codec>
    void fields(Codec& codec) {
        codec(refused, arrival, changed, from, to, bytes, ranges, text);
    }
};

// --- The machine's process ---

class Copy::Server {
  public:
    Server(Cursor& cursor, host::FileDescriptor socket) : cursor_(cursor), socket_(std::move(socket)) {}

    /// Until nobody asks any more.
    [[noreturn]] void serve() {
        while (true) {
            host::Message message = host::receive_message(socket_.get());
            if (message.closed) ::_exit(0);
            auto request = record::decode_fields<Request>(message.bytes, "a request to a copy");
            if (!request) ::_exit(1);
            if (request.value().ask == Ask::kInterrupt) continue;  // it came too late
            Reply reply;
            if (request.value().ask == Ask::kFork)
                fork(std::move(message.passed), reply);
            else
                answer(request.value(), reply);
            host::send_message(socket_.get(), record::encode_fields(reply));
        }
    }
    void refuse(const std::string& why) {
        Reply reply;
        reply.refused = why;
        host::send_message(socket_.get(), record::encode_fields(reply));
    }

  private:
    void fork(host::FileDescriptor passed, Reply& reply) {
        pid_t child = ::fork();
        if (child < 0)
            reply.refused = "no further process can be made; raise the limit of processes (ulimit -u)";
        if (child != 0) return;
        socket_ = std::move(passed);
        cursor_.after_fork();
        serve();
    }

    bool interrupted() {
        pollfd one{socket_.get(), POLLIN, 0};
        if (::poll(&one, 1, 0) <= 0) return false;
        if (host::receive_message(socket_.get()).closed) ::_exit(0);
        return true;  // nothing else comes while a reply is awaited
    }

    void answer(Request& request, Reply& reply) {
        auto interrupted = [this] { return this->interrupted(); };
        switch (request.ask) {
            case Ask::kRun:
                reply.arrival = cursor_.run(request.until, request.stops, request.here, interrupted);
                break;
            case Ask::kFindLast:
                reply.arrival = cursor_.find_last(request.until, request.stops, interrupted);
                break;
            case Ask::kFindChange: {
                auto change =
                    cursor_.find_last_change(request.until, request.steps, request.ranges, interrupted);
                reply.changed = change.has_value();
                if (change) reply.from = change->from;
                if (change) reply.to = change->to;
                break;
            }
            case Ask::kProcessor: {
                const auto* state = reinterpret_cast<const uint8_t*>(&cursor_.processor());
                reply.bytes.assign(state, state + sizeof(cpu::CpuState));
                break;
            }
            case Ask::kLinear:
                reply.bytes = cursor_.read_linear(request.at, std::min<uint64_t>(request.size, kMostBytes));
                break;
            case Ask::kPhysical:
                reply.bytes = cursor_.read_physical(request.ranges);
                break;
            case Ask::kWhere:
                reply.ranges = cursor_.physical(request.at, request.size);
                break;
            case Ask::kDescribe:
                reply.text = cursor_.machine().describe();
                break;
            case Ask::kFork:
            case Ask::kInterrupt:
                NOT_REACHED("they were seen to");
        }
    }

    Cursor& cursor_;
    host::FileDescriptor socket_;
};

// --- This process ---

Result<std::unique_ptr<Copy>> Copy::open(const std::string& path, vmm::MachineFactory& factory,
                                         const vmm::LogPlayer::Options& options) {
    auto [here, there] = TRY(host::message_sockets());
    std::signal(SIGCHLD, SIG_IGN);
    pid_t child = ::fork();
    if (child < 0)
        return error("no process can be made for the machine; raise the limit of processes (ulimit -u)");
    if (child == 0) {
        here.reset();
        auto cursor = Cursor::open(path, factory, options);
        if (!cursor) {
            // Nobody is asked for more than the reason.
            Reply reply;
            reply.refused = cursor.error().message();
            host::send_message(there.get(), record::encode_fields(reply));
            ::_exit(1);
        }
        Reply reply;
        reply.arrival.icount = cursor.value()->icount();
        host::send_message(there.get(), record::encode_fields(reply));
        Server(*cursor.value(), std::move(there)).serve();
    }
    there.reset();
    std::unique_ptr<Copy> copy(new Copy(std::move(here), Icount(0)));
    Reply first = TRY(copy->wait({}));
    copy->icount_ = first.arrival.icount;
    return copy;
}

Result<std::unique_ptr<Copy>> Copy::fork() {
    auto [here, there] = TRY(host::message_sockets());
    Request request;
    request.ask = Ask::kFork;
    TRY(ask(request, {}, there.get()));
    return std::unique_ptr<Copy>(new Copy(std::move(here), icount_));
}

Result<Copy::Reply> Copy::ask(const Request& request, const Interruption& interruption, int passed) {
    host::send_message(socket_.get(), record::encode_fields(request), passed);
    return wait(interruption);
}

Result<Copy::Reply> Copy::wait(const Interruption& interruption) {
    bool interrupts = interruption.descriptor >= 0;
    while (true) {
        std::array<pollfd, 2> both{pollfd{socket_.get(), POLLIN, 0},
                                   pollfd{interrupts ? interruption.descriptor : -1, POLLIN, 0}};
        if (::poll(both.data(), both.size(), -1) < 0) continue;
        if (both[0].revents) break;
        if (!both[1].revents || !interruption.asked()) continue;
        interrupts = false;
        Request stop;
        stop.ask = Ask::kInterrupt;
        host::send_message(socket_.get(), record::encode_fields(stop));
    }
    host::Message message = host::receive_message(socket_.get());
    if (message.closed)
        return error("the process that replays the recording has died; see what it printed, and begin again");
    Reply reply = TRY(record::decode_fields<Reply>(message.bytes, "a copy's reply"));
    if (!reply.refused.empty()) return Error(reply.refused);
    return reply;
}

Copy::Request Copy::run_request(Icount until, const Stops& stops) {
    Request request;
    request.until = until;
    request.stops = stops;
    return request;
}

Result<Arrival> Copy::run(Icount until, const Stops& stops, Here here, const Interruption& interruption) {
    Request request = run_request(until, stops);
    request.here = here;
    request.ask = Ask::kRun;
    Reply reply = TRY(ask(request, interruption));
    icount_ = reply.arrival.icount;
    return reply.arrival;
}

Result<Arrival> Copy::find_last(Icount until, const Stops& stops, const Interruption& interruption) {
    Request request = run_request(until, stops);
    request.ask = Ask::kFindLast;
    return TRY(ask(request, interruption)).arrival;
}

Result<std::optional<Cursor::Change>> Copy::find_last_change(Icount until, uint64_t steps,
                                                             const std::vector<Range>& ranges,
                                                             const Interruption& interruption) {
    Request request = run_request(until, {});
    request.ask = Ask::kFindChange;
    request.steps = steps;
    request.ranges = ranges;
    Reply reply = TRY(ask(request, interruption));
    std::optional<Cursor::Change> change;
    if (reply.changed) change = Cursor::Change{reply.from, reply.to};
    return change;
}

Result<cpu::CpuState> Copy::processor() {
    static_assert(std::is_trivially_copyable_v<cpu::CpuState>);
    Request request;
    request.ask = Ask::kProcessor;
    Reply reply = TRY(ask(request));
    cpu::CpuState state;
    CHECK(reply.bytes.size() == sizeof state);
    std::memcpy(&state, reply.bytes.data(), sizeof state);
    return state;
}

Result<Bytes> Copy::read_linear(uint64_t at, size_t size) {
    Request request;
    request.ask = Ask::kLinear;
    request.at = at;
    request.size = size;
    return TRY(ask(request)).bytes;
}

Result<Bytes> Copy::read_physical(const std::vector<Range>& ranges) {
    Request request;
    request.ask = Ask::kPhysical;
    request.ranges = ranges;
    return TRY(ask(request)).bytes;
}

Result<std::vector<Range>> Copy::physical(uint64_t at, uint64_t size) {
    Request request;
    request.ask = Ask::kWhere;
    request.at = at;
    request.size = size;
    return TRY(ask(request)).ranges;
}

Result<std::string> Copy::describe() {
    Request request;
    request.ask = Ask::kDescribe;
    return TRY(ask(request)).text;
}

}  // namespace lockstep::debug
