// SPDX-License-Identifier: Apache-2.0
// A program of the 32-bit ABI that uses what such programs have of the CPU, by every way into the kernel. It prints what it
// finds; a bare CPU prints the same.
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static uint32_t checksum = 2166136261u;

static void add(const void *bytes, size_t size) {
    for (size_t i = 0; i < size; ++i) checksum = (checksum ^ ((const uint8_t *)bytes)[i]) * 16777619u;
}

static void report(const char *name) { printf("%s %08x\n", name, checksum); }

static int compare_numbers(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static void arithmetic(void) {
    uint64_t wide = 0x123456789abcdef;
    double number = 1.5;
    long double longer = 1.25L;
    for (uint32_t i = 1; i < 3000; ++i) {
        wide = wide * 6364136223846793005ull + i;
        wide ^= wide / (i * 77ull + 1) + wide % (i | 1);
        number = sqrt(number * i + 0.5) * sin(number);
        longer = longer / 3 + (long double)wide;
        add(&wide, sizeof wide);
        add(&number, sizeof number);
        add(&longer, 10);
    }
    report("arithmetic");
}

static void memory(void) {
    uint32_t *numbers = malloc(40000 * sizeof *numbers), seed = 1;
    for (unsigned i = 0; i < 40000; ++i) numbers[i] = seed = seed * 1664525 + 1013904223;
    qsort(numbers, 40000, sizeof *numbers, compare_numbers);
    add(numbers, 40000 * sizeof *numbers);
    char text[3000] = "";
    for (unsigned i = 0; i < 100; ++i) sprintf(text + strlen(text), "%u:%x:%g ", numbers[i], numbers[i] / 3, numbers[i] / 7.0);
    add(text, strlen(text));
    memmove(text + 13, text, 2000);
    add(text, sizeof text);
    free(numbers);
    report("memory");
}

// What 64-bit code doesn't have.
static void old_instructions(void) {
    uint32_t flags, result[8];
    for (uint32_t value = 0; value < 65536; value += 7) {
        uint32_t a, b, c, d, m;
        __asm__("daa; pushf; pop %1" : "=a"(a), "=r"(flags) : "0"(value));
        result[0] = a, result[1] = flags & 0xd5;
        __asm__("aaa" : "=a"(b) : "0"(value));
        __asm__("aas" : "=a"(c) : "0"(value));
        __asm__("aam" : "=a"(m) : "0"(value));
        __asm__("aad" : "=a"(d) : "0"(value & 0xffff));
        result[2] = b, result[3] = c, result[4] = d, result[5] = m;
        uint32_t pushed[8];
        __asm__("pusha; mov (%%esp), %0; mov 4(%%esp), %1; popa" : "=&r"(pushed[0]), "=&r"(pushed[1]) : "D"(value), "S"(value * 3));
        result[6] = pushed[0], result[7] = pushed[1];
        add(result, sizeof result);
    }
    struct { int32_t low, high; } bounds = {-5, 100};
    __asm__ volatile("bound %0, %1" : : "r"(50), "m"(bounds));
    uint16_t selector = 0x20;
    uint8_t raised;
    __asm__("arpl %w2, %w0; setz %1" : "+r"(selector), "=q"(raised) : "r"(3));
    add(&selector, sizeof selector);
    add(&raised, 1);
    report("old instructions");
}

static sigjmp_buf back;
static volatile uint32_t caught;

static void on_fault(int number, siginfo_t *info, void *context) {
    const ucontext_t *where = context;
    caught = (uint32_t)number << 24 ^ (uint32_t)info->si_code << 16 ^ (uint32_t)where->uc_mcontext.gregs[REG_TRAPNO] << 8 ^
             (number == SIGSEGV ? (uint32_t)(uintptr_t)info->si_addr : 0);
    siglongjmp(back, 1);
}

static void after_fault(void) {
    uint32_t seen = caught;
    add(&seen, sizeof seen);
    caught = 0;
}

static void faults(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    int numbers[] = {SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS};
    for (unsigned i = 0; i < 5; ++i) sigaction(numbers[i], &action, NULL);
    if (!sigsetjmp(back, 1)) *(volatile int *)0x1234 = 1;
    after_fault();
    if (!sigsetjmp(back, 1)) __asm__ volatile("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx" : : : "eax", "ecx", "edx");
    after_fault();
    if (!sigsetjmp(back, 1)) __asm__ volatile("ud2");
    after_fault();
    if (!sigsetjmp(back, 1)) __asm__ volatile("int3");
    after_fault();
    if (!sigsetjmp(back, 1)) __asm__ volatile("mov $0x7fffffff, %%eax; inc %%eax; into" : : : "eax");
    after_fault();
    int32_t bounds[2] = {0, 1};
    if (!sigsetjmp(back, 1)) __asm__ volatile("bound %0, %1" : : "r"(5), "m"(bounds));
    after_fault();
    if (!sigsetjmp(back, 1)) __asm__ volatile("mov %%cs:0, %%eax; movl $0, %%cs:caught" : : : "eax", "memory");
    after_fault();
    if (!sigsetjmp(back, 1)) __asm__ volatile("syscall");  // #UD on Intel's CPUs; on others a system call that isn't one
    caught = 0;
    report("faults");
}

static volatile unsigned alarms;
static void on_alarm(int number) { (void)number, ++alarms; }

static void signals(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval every = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &every, NULL);
    volatile double spin = 1;
    while (alarms < 20) spin = spin * 1.0000001 + 1e-9;
    memset(&every, 0, sizeof every);
    setitimer(ITIMER_REAL, &every, NULL);
    puts("signals delivered");
}

static __thread uint32_t own = 5;
static void *thread(void *argument) {
    for (unsigned i = 0; i < 100000; ++i) own = own * 69069 + (uint32_t)(uintptr_t)argument;
    return (void *)(uintptr_t)own;
}

static void threads(void) {
    pthread_t made[4];
    for (uintptr_t i = 0; i < 4; ++i) pthread_create(&made[i], NULL, thread, (void *)i);
    for (unsigned i = 0; i < 4; ++i) {
        void *result;
        pthread_join(made[i], &result);
        uint32_t value = (uint32_t)(uintptr_t)result;
        add(&value, sizeof value);
    }
    report("threads");
}

// A segment that begins at an array and ends with it.
static void segments(void) {
    static uint32_t array[16];
    for (unsigned i = 0; i < 16; ++i) array[i] = i * 0x01010101u;
    struct user_desc entry = {.entry_number = 1, .base_addr = (uint32_t)(uintptr_t)array, .limit = sizeof array - 1, .seg_32bit = 1, .useable = 1};
    if (syscall(SYS_modify_ldt, 1, &entry, sizeof entry)) {
        printf("no local descriptors: %s\n", strerror(errno));
        return;
    }
    const volatile uint16_t selector = 1 << 3 | 7;
    uint32_t value = 0, sum = 0;
    volatile uint32_t saved;
    __asm__ volatile("mov %%fs, %0" : "=r"(saved));
    for (uint32_t i = 0; i < 16; ++i) {
        __asm__ volatile("mov %2, %%fs; addl $3, %%fs:(,%1,4); mov %%fs:(,%1,4), %0" : "=&r"(value) : "r"(i), "r"((uint32_t)selector) : "memory");
        sum = sum * 31 + value;
    }
    add(&sum, sizeof sum);
    add(array, sizeof array);
    if (!sigsetjmp(back, 1)) __asm__ volatile("mov %0, %%fs; mov %%fs:61, %%eax" : : "r"((uint32_t)selector) : "eax");
    after_fault();  // beyond the limit
    uint32_t copy[16], *to = copy, from = 0, left = 16;
    __asm__ volatile("push %%ds; mov %w3, %%ds; cld; rep movsl; pop %%ds"
                     : "+S"(from), "+D"(to), "+c"(left) : "r"((uint32_t)selector) : "memory");
    add(copy, sizeof copy);
    uint32_t limit = 0, rights = 0;
    __asm__ volatile("lsl %2, %0; lar %2, %1" : "=r"(limit), "=r"(rights) : "r"((uint32_t)selector));
    add(&limit, sizeof limit);
    add(&rights, sizeof rights);
    __asm__ volatile("mov %0, %%fs" : : "r"(saved));
    report("segments");
}

// To 64-bit code and back, which sees all 64 bits of its registers.
static void sixty_four_bits(void) {
    uint32_t low = 0, high = 0;
    __asm__ volatile(
        "lcall $0x33, $1f\n"
        "jmp 2f\n"
        "1: .byte 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8\n"  // mov rax, 0x0807060504030201
        ".byte 0x48, 0x89, 0xc2\n"                        // mov rdx, rax
        ".byte 0x48, 0xc1, 0xea, 32\n"                    // shr rdx, 32
        ".byte 0xcb\n"                                    // retf
        "2:"
        : "=a"(low), "=d"(high));
    add(&low, sizeof low);
    add(&high, sizeof high);
    report("64-bit code");
}

static void kernel(void) {
    uint32_t by_interrupt, by_library = (uint32_t)getppid();
    __asm__ volatile("int $0x80" : "=a"(by_interrupt) : "0"(SYS_getppid));
    printf("the same parent: %d\n", by_interrupt == by_library);
    int pipes[2];
    if (pipe(pipes)) exit(1);
    for (unsigned i = 0; i < 10; ++i) {
        pid_t child = fork();
        if (child == 0) {
            uint32_t value = i * 1000003;
            _exit(write(pipes[1], &value, sizeof value) == sizeof value ? 7 : 1);
        }
        int status;
        uint32_t value;
        waitpid(child, &status, 0);
        if (read(pipes[0], &value, sizeof value) != sizeof value) exit(1);
        add(&status, sizeof status);
        add(&value, sizeof value);
    }
    uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t i = 0; i < 50; ++i) {  // code that changes, across two pages
        const uint8_t code[] = {0xb8, (uint8_t)i, 1, 2, 3, 0x40, 0x48, 0x05, 1, 0, 0, 0, 0xc3};
        memcpy(page + 4090, code, sizeof code);
        uint32_t result = ((uint32_t(*)(void))(page + 4090))();
        add(&result, sizeof result);
    }
    report("kernel");
}

int main(void) {
    setvbuf(stdout, NULL, _IONBF, 0);
    arithmetic();
    memory();
    old_instructions();
    faults();
    signals();
    threads();
    segments();
    sixty_four_bits();
    kernel();
    return 0;
}
