// SPDX-License-Identifier: Apache-2.0
/* A guest application for the demo and the tests: answers numbered requests over TCP.
 *
 *   echo_server PORT
 *
 * Request: a line "<number> <anything>\n". Answer: a line "<number> <count> <hash>\n", where count is the
 * number of requests that this connection has had answered, this one included, and hash the FNV-1a hash (hex)
 * of all bytes received on the connection up to the end of this request. A client that works out the same
 * figures notices any request that was lost, repeated or changed, and any state of the server that was.
 * Each connection has a process of its own. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n <= 0) return -1;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static void serve(int fd) {
    uint64_t hash = 14695981039346656037u, count = 0, number = 0;
    int in_number = 1;
    char in[4096], out[16384];
    for (;;) {
        ssize_t n = read(fd, in, sizeof in);
        if (n <= 0) return;
        size_t used = 0;
        for (ssize_t i = 0; i < n; i++) {
            char c = in[i];
            hash = (hash ^ (unsigned char)c) * 1099511628211u;
            if (c == '\n') {
                used += (size_t)snprintf(out + used, sizeof out - used, "%llu %llu %016llx\n",
                                         (unsigned long long)number, (unsigned long long)++count,
                                         (unsigned long long)hash);
                number = 0;
                in_number = 1;
                if (used > sizeof out - 128) {
                    if (write_all(fd, out, used)) return;
                    used = 0;
                }
            } else if (in_number && c >= '0' && c <= '9') {
                number = number * 10 + (uint64_t)(c - '0');
            } else {
                in_number = 0;
            }
        }
        if (used && write_all(fd, out, used)) return;
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: echo_server PORT\n");
        return 2;
    }
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("echo_server");
        return 1;
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        if (fork() == 0) {
            close(listener);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            serve(fd);
            _exit(0);
        }
        close(fd);
    }
}
