// SPDX-License-Identifier: Apache-2.0
// A load for a guest: writes whole pages at random places of so much memory, and tells how many.
//
//     page_writer MIB MB_PER_SECOND
//
// Between two pages it turns in a loop, whose length it finds out at first, so that a guest that runs more slowly writes
// less. Then every 100 ms a line: "W milliseconds pages", both since then. Made without a library, so that it is
// small enough to be typed into a console.
typedef unsigned long u64;

static long call(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static u64 now_ns(void) {
    long time[2];
    call(228, 1, (long)time, 0, 0, 0, 0);
    return (u64)time[0] * 1000000000 + (u64)time[1];
}

static u64 number_of(const char* text) {
    u64 number = 0;
    while (*text >= '0' && *text <= '9') number = number * 10 + (u64)(*text++ - '0');
    return number;
}

static u64 pages, state = 88172645463325252ul;
static char* memory;

static void write_pages(u64 count, u64 turns) {
    for (u64 i = 0; i < count; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u64* to = (u64*)(memory + state % pages * 4096);
        u64 words = 512;
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(state | 1) : "memory");
        for (u64 turn = 0; turn < turns; ++turn) __asm__ volatile("");
    }
}

static void put(char** at, u64 number) {
    char digits[20];
    int n = 0;
    do digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n) *(*at)++ = digits[--n];
}

void run(long* stack) {
    pages = number_of((const char*)stack[2]) << 8;
    u64 wanted = number_of((const char*)stack[3]) * 1000000 / 4096;  // pages a second
    memory = (char*)call(9, 0, (long)(pages << 12), 3, 0x22, -1, 0);
    for (u64 page = 0; page < pages; ++page) *(u64*)(memory + (page << 12)) = page | 1;
    u64 turns = 1000;
    for (int attempt = 0; attempt < 8; ++attempt) {
        u64 start = now_ns(), count = wanted / 4;
        write_pages(count, 0);
        u64 bare = now_ns() - start;
        write_pages(count, turns);
        u64 turned = now_ns() - start - 2 * bare;  // of the turns alone
        u64 spare = count * 1000000000 / wanted;
        spare = spare > bare ? spare - bare : 0;
        if ((long)turned < 1) turned = 1;
        turns = (turns * (spare / 1000) / (turned / 1000 + 1)) | 1;
    }
    u64 start = now_ns(), written = 0, said = 0;
    for (;;) {
        write_pages(wanted / 1000 + 1, turns);
        written += wanted / 1000 + 1;
        u64 ms = (now_ns() - start) / 1000000;
        if (ms < said + 100) continue;
        said = ms;
        char line[64];
        char* at = line;
        *at++ = 'W';
        *at++ = ' ';
        put(&at, ms);
        *at++ = ' ';
        put(&at, written);
        *at++ = '\n';
        call(1, 1, (long)line, at - line, 0, 0, 0);
    }
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
