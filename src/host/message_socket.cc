// SPDX-License-Identifier: Apache-2.0
#include "host/message_socket.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace lockstep::host {

namespace {

constexpr size_t kMostBytes = 128 << 10;

struct alignas(cmsghdr) PassedDescriptor {
    std::array<uint8_t, CMSG_SPACE(sizeof(int))> bytes{};
};

}  // namespace

Result<std::pair<FileDescriptor, FileDescriptor>> message_sockets() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return error("cannot make a pair of sockets: {}; raise the limit of open files (ulimit -n)",
                     std::strerror(errno));
    return std::pair(FileDescriptor(ends[0]), FileDescriptor(ends[1]));
}

void send_message(int socket, ByteSpan bytes, int passed) {
    iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
    PassedDescriptor with;
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (passed >= 0) {
        header.msg_control = with.bytes.data();
        header.msg_controllen = with.bytes.size();
        cmsghdr* control = CMSG_FIRSTHDR(&header);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(sizeof passed);
        std::memcpy(CMSG_DATA(control), &passed, sizeof passed);
    }
    while (::sendmsg(socket, &header, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

Message receive_message(int socket) {
    Message message;
    message.bytes.resize(kMostBytes);
    PassedDescriptor with;
    iovec part{message.bytes.data(), message.bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = with.bytes.data();
    header.msg_controllen = with.bytes.size();
    ssize_t got = 0;
    while ((got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    message.closed = got <= 0;
    message.bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    cmsghdr* control = got > 0 ? CMSG_FIRSTHDR(&header) : nullptr;
    if (control && control->cmsg_type == SCM_RIGHTS) {
        int passed = -1;
        std::memcpy(&passed, CMSG_DATA(control), sizeof passed);
        message.passed = FileDescriptor(passed);
    }
    return message;
}

}  // namespace lockstep::host
