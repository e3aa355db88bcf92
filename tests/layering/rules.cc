// SPDX-License-Identifier: Apache-2.0
#include "rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <regex>
#include <sstream>

namespace lockstep::layering {

namespace {

/// A header that a deterministic room must not include.
struct BannedHeader {
    std::string_view header;
    std::string_view allowed_rooms;  ///< between spaces
    std::string_view instead;
};

constexpr std::string_view kUseClock = "take the time from the icount, or from a Clock that was handed in";
constexpr std::string_view kUseHost = "do it in host/, behind an interface";

constexpr BannedHeader kBannedHeaders[] = {
    {"ctime", "", kUseClock},
    {"time.h", "", kUseClock},
    {"sys/time.h", "", kUseClock},
    {"thread", "", kUseHost},
    {"mutex", " translate ", kUseHost},  // for std::call_once; std::mutex is banned below
    {"shared_mutex", "", kUseHost},
    {"condition_variable", "", kUseHost},
    {"future", "", kUseHost},
    {"semaphore", "", kUseHost},
    {"pthread.h", " translate ", kUseHost},
    {"fstream", "", kUseHost},
    {"filesystem", "", kUseHost},
    {"iostream", "", kUseHost},
    {"fcntl.h", " memory ", kUseHost},
    {"poll.h", "", kUseHost},
    {"sys/epoll.h", "", kUseHost},
    {"sys/socket.h", "", kUseHost},
    {"netinet/in.h", "", kUseHost},
    {"sys/stat.h", "", kUseHost},
    {"sys/random.h", "", "take random bytes from a log entry"},
    {"liburing.h", "", kUseHost},
    {"sys/mman.h", " memory translate ", "ask memory/ for guest memory"},
    {"unistd.h", " memory translate ", kUseHost},
    {"sys/syscall.h", " memory translate ", kUseHost},
    {"csignal", " translate ", kUseHost},
    {"signal.h", " translate ", kUseHost},
    {"ucontext.h", " translate ", kUseHost},
    {"sys/ucontext.h", " translate ", kUseHost},
    {"asm/prctl.h", " translate ", kUseHost},
};

struct BannedCall {
    const char* pattern;  ///< a regular expression
    std::string_view what;
    std::string_view instead;
    std::string_view allowed_rooms = "";  ///< between spaces
};

// A name that is called as a free function: not a member, not of another namespace than the global one.
#define FREE_CALL(names) "(^|[^A-Za-z0-9_.>:]|[^A-Za-z0-9_>]::|^::|std::)(" names ")\\s*\\("

constexpr BannedCall kBannedCalls[] = {
    // <chrono> itself is free: calendar arithmetic observes nothing.
    {"\\b(system|steady|high_resolution|utc|tai|gps|file)_clock\\b", "a host clock", kUseClock},
    {FREE_CALL("gettimeofday|clock_gettime|clock_getres|timespec_get|nanosleep|clock_nanosleep|usleep"),
     "a host clock", kUseClock},
    {FREE_CALL("time") "\\s*(NULL|nullptr|0|&)", "time()", kUseClock},
    {"std::(time|clock)\\s*\\(", "a host clock", kUseClock},
    {"\\b(__rdtscp?|__builtin_ia32_rdtscp?|_rdrand[0-9]+_step|_rdseed[0-9]+_step)\\b",
     "a host counter or generator", kUseClock},
    {FREE_CALL("rand|srand|rand_r|drand48|lrand48|arc4random|getrandom|getentropy"), "a random number",
     "take random bytes from a log entry, or a seeded generator in sim/"},
    {"std::random_device\\b", "std::random_device", "take random bytes from a log entry, or a seed in sim/"},
    {FREE_CALL("getenv|secure_getenv|setenv"), "the environment", "take it from the configuration"},
    {"std::(thread|jthread|async|mutex|shared_mutex|condition_variable|this_thread)\\b", "a thread",
     kUseHost},
    {"\\bpthread_(?!(self|kill|t)\\b)[a-z]+", "a thread", kUseHost},
    // A fault and a request to stop come as signals to the thread that runs the guest.
    {"\\bpthread_(self|kill|t)\\b", "a thread", kUseHost, " translate "},
    {"\\bthread_local\\b", "a thread's own variable", "keep it in the object", " translate "},
    {"std::(ifstream|ofstream|fstream|filesystem)\\b", "a file", kUseHost},
    {FREE_CALL("fopen|freopen|fdopen|popen|opendir|creat|unlink|system|fork|execve"), "a file or process",
     kUseHost},
    // The guest's RAM is a file without a name, in memory.
    {FREE_CALL("openat"), "a file", kUseHost, " memory "},
    {"(^|[^A-Za-z0-9_>])::(open|close|read|write|ioctl|stat|poll|connect|bind|send|recv)\\s*\\(",
     "a system call", kUseHost},
    {FREE_CALL("socket|accept|epoll_wait|epoll_create1|eventfd|timerfd_create"), "a socket or event",
     kUseHost},
    {FREE_CALL("getpid|gettid|gethostname|uname|sysconf"), "who and where this process is", kUseHost},
};

#undef FREE_CALL

std::optional<size_t> level_of(std::string_view room) {
    const auto* found = std::ranges::find(kRooms, room, &Room::name);
    if (found == std::end(kRooms)) return std::nullopt;
    return static_cast<size_t>(found - std::begin(kRooms));
}

bool allows(std::string_view rooms, const std::string& room) {
    return rooms.find(" " + room + " ") != std::string_view::npos;
}

struct Include {
    size_t line;
    std::string header;
};

std::vector<Include> includes_of(std::string_view text) {
    static const std::regex pattern(R"(^\s*#\s*include\s*[<"]([^">]+)[">])");
    std::vector<Include> includes;
    std::istringstream lines{std::string(text)};
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number) {
        std::smatch match;
        if (line.find('#') != std::string::npos && std::regex_search(line, match, pattern)) {
            includes.push_back({number, match[1]});
        }
    }
    return includes;
}

std::string first_part(std::string_view path) { return std::string(path.substr(0, path.find('/'))); }

const std::vector<std::regex>& banned_patterns() {
    static const std::vector<std::regex> patterns = [] {
        std::vector<std::regex> compiled;
        for (const BannedCall& call : kBannedCalls) compiled.emplace_back(call.pattern, std::regex::optimize);
        return compiled;
    }();
    return patterns;
}

}  // namespace

bool is_deterministic_room(std::string_view room) {
    std::optional<size_t> level = level_of(room);
    return level && (*level < *level_of("host") || room == "sim");
}

std::string room_of(std::string_view path) {
    if (!path.starts_with("src/")) return {};
    std::string_view rest = path.substr(4);
    return rest.find('/') == std::string_view::npos ? std::string() : first_part(rest);
}

std::string without_comments_and_strings(std::string_view text) {
    enum class In : uint8_t { kCode, kLineComment, kBlockComment, kString, kCharacter };
    In in = In::kCode;
    std::string result(text);
    for (size_t i = 0; i < text.size(); ++i) {
        char c = text[i], next = i + 1 < text.size() ? text[i + 1] : '\0';
        bool digit_before = i > 0 && std::isalnum(static_cast<unsigned char>(text[i - 1]));
        if (in == In::kCode) {
            if (c == '/' && next == '/') in = In::kLineComment;
            if (c == '/' && next == '*') in = In::kBlockComment;
            if (c == '"') in = In::kString;
            if (c == '\'' && !digit_before) in = In::kCharacter;  // 1'000 has no character in it
            if (in == In::kLineComment || in == In::kBlockComment) result[i] = ' ';
            continue;
        }
        if (c == '\n') {
            if (in != In::kBlockComment) in = In::kCode;
            continue;
        }
        if ((in == In::kString && c == '"') || (in == In::kCharacter && c == '\'')) {
            in = In::kCode;
            continue;
        }
        result[i] = ' ';
        if ((in == In::kString || in == In::kCharacter) && c == '\\' && next != '\n') {
            if (++i < text.size()) result[i] = ' ';
        } else if (in == In::kBlockComment && c == '*' && next == '/') {
            result[++i] = ' ';
            in = In::kCode;
        }
    }
    return result;
}

/// The words of a text that blanks and ends of line part.
std::vector<std::string> words_of(std::string_view text) {
    std::istringstream in{std::string(text)};
    return {std::istream_iterator<std::string>(in), {}};
}

std::vector<std::string> layer_breaches(const SourceFile& file) {
    std::vector<std::string> breaches;
    std::string room = room_of(file.path);
    if (room.empty()) return breaches;
    std::optional<size_t> level = level_of(room);
    if (!level) return {fmt::format("{}: src/{} is not one of the rooms; see kRooms", file.path, room)};
    std::vector<std::string> known = words_of(kRooms[*level].knows);
    for (const Include& include : includes_of(file.text)) {
        std::string other = first_part(include.header);
        if (!level_of(other) || include.header.find('/') == std::string::npos) continue;
        if (other == room || std::ranges::count(known, other) > 0) continue;
        breaches.push_back(fmt::format("{}:{}: {}/ includes {}/, which it doesn't know; see kRooms",
                                       file.path, include.line, room, other));
    }
    return breaches;
}

std::vector<std::string> link_breaches(const SourceFile& file) {
    static constexpr std::string_view kPrefix = "lockstep_";
    std::string room = room_of(file.path);
    std::optional<size_t> level = level_of(room);
    if (!level || !file.path.ends_with("/CMakeLists.txt")) return {};
    std::vector<std::string> known = words_of(kRooms[*level].knows), linked;
    static const std::regex kRoomLine(R"(lockstep_room\(([^)]*)\))");
    std::smatch line;
    if (!std::regex_search(file.text, line, kRoomLine))
        return {fmt::format("{}: no lockstep_room()", file.path)};
    for (const std::string& word : words_of(line[1].str())) {
        std::string name = word.starts_with(kPrefix) ? word.substr(kPrefix.size()) : "";
        if (level_of(name)) linked.push_back(name);
    }
    std::ranges::sort(known);
    std::ranges::sort(linked);
    if (known == linked) return {};
    return {fmt::format("{}: {}/ links {}, and knows {}; see kRooms", file.path, room, fmt::join(linked, " "),
                        fmt::join(known, " "))};
}

/// Whether any pattern can match: each has a word of these in it. Regular expressions are slow, most lines have none.
bool may_hold_a_call(const std::string& line) {
    static constexpr std::string_view kWords[] = {
        "clock", "time",    "sleep",  "rd",      "rand",        "entropy", "env",    "std::",  "thread",
        "open",  "unlink",  "system", "fork",    "execve",      "creat",   "close",  "read",   "write",
        "ioctl", "stat",    "poll",   "connect", "bind",        "send",    "recv",   "socket", "accept",
        "epoll", "eventfd", "getpid", "gettid",  "gethostname", "uname",   "sysconf"};
    if (line.find('(') == std::string::npos && line.find("std::") == std::string::npos &&
        line.find("thread") == std::string::npos && line.find("_clock") == std::string::npos)
        return false;
    return std::ranges::any_of(kWords,
                               [&](std::string_view word) { return line.find(word) != std::string::npos; });
}

std::vector<std::string> wall_breaches(const SourceFile& file) {
    std::vector<std::string> breaches;
    std::string room = room_of(file.path);
    if (!is_deterministic_room(room)) return breaches;
    for (const Include& include : includes_of(file.text)) {
        for (const BannedHeader& banned : kBannedHeaders) {
            if (banned.header != include.header) continue;
            if (allows(banned.allowed_rooms, room)) continue;
            breaches.push_back(fmt::format("{}:{}: {}/ must not include <{}>: {}", file.path, include.line,
                                           room, banned.header, banned.instead));
        }
    }
    std::istringstream lines(without_comments_and_strings(file.text));
    std::string line;
    for (size_t number = 1; std::getline(lines, line); ++number) {
        if (!may_hold_a_call(line)) continue;
        for (size_t i = 0; i < std::size(kBannedCalls); ++i) {
            if (allows(kBannedCalls[i].allowed_rooms, room)) continue;
            if (!std::regex_search(line, banned_patterns()[i])) continue;
            breaches.push_back(fmt::format("{}:{}: {}/ must not use {}: {}", file.path, number, room,
                                           kBannedCalls[i].what, kBannedCalls[i].instead));
        }
    }
    return breaches;
}

std::vector<std::string> length_breaches(const SourceFile& file, const std::vector<LongFile>& allowances) {
    size_t lines = static_cast<size_t>(std::ranges::count(file.text, '\n'));
    auto allowance = std::ranges::find(allowances, file.path, &LongFile::path);
    if (allowance == allowances.end()) {
        if (lines <= kMostLines) return {};
        return {fmt::format("{}: {} lines; divide it, {} are the limit", file.path, lines, kMostLines)};
    }
    if (lines > allowance->lines) {
        return {
            fmt::format("{}: {} lines, and it may only shrink from {}", file.path, lines, allowance->lines)};
    }
    if (lines <= kMostLines)
        return {fmt::format("{}: within the limit now; strike it from long_files()", file.path)};
    if (lines < allowance->lines) {
        return {fmt::format("{}: it has shrunk; lower its number in long_files() to {}", file.path, lines)};
    }
    return {};
}

std::vector<LongFile> long_files() { return {}; }

}  // namespace lockstep::layering
