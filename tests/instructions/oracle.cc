#include "oracle.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "oracle_native.h"

namespace lockstep::instructions {

struct Oracle::Shared {
    struct Slot {
        UserState state;
        bool count_instructions;
        size_t patch_size;
        std::array<uint8_t, kPatchBytes> patches;  ///< address, size, bytes; again and again
    };
    size_t count;
    std::array<Slot, kBatch> slots;
    std::array<Outcome, kBatch> outcomes;
};

namespace {

template <typename Slot>
void write_slot(const Case& test_case, Slot& slot) {
    slot.state = test_case.state;
    slot.count_instructions = test_case.count_instructions;
    slot.patch_size = 0;
    for (const Patch& patch : test_case.patches) {
        uint64_t size = patch.bytes.size();
        CHECK(slot.patch_size + 16 + size <= slot.patches.size(), "case {}: too many patches",
              test_case.name);
        uint8_t* at = &slot.patches[slot.patch_size];
        std::memcpy(at, &patch.address, 8);
        std::memcpy(at + 8, &size, 8);
        std::memcpy(at + 16, patch.bytes.data(), size);
        slot.patch_size += 16 + size;
    }
}

template <typename Slot>
void apply_slot(const Slot& slot, Image& image) {
    image = base_image();
    for (size_t at = 0; at < slot.patch_size;) {
        uint64_t address, size;
        std::memcpy(&address, &slot.patches[at], 8);
        std::memcpy(&size, &slot.patches[at + 8], 8);
        for (uint64_t i = 0; i < size; ++i)
            if (std::optional<size_t> offset = image_offset(address + i))
                image[*offset] = slot.patches[at + 16 + i];
        at += 16 + size;
    }
}

}  // namespace

void Oracle::serve(Shared& shared, int socket) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Result<Image*> image = prepare_native_sandbox();
    uint8_t status = image.ok() ? 1 : 0;
    if (!image.ok()) std::fprintf(stderr, "oracle: %s\n", image.error().message().c_str());
    if (write(socket, &status, 1) != 1 || !status) _exit(1);
    // From here on the process may only read, write and return from signals: a case can do no harm.
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    while (read(socket, &status, 1) == 1) {
        for (size_t i = 0; i < shared.count; ++i) {
            apply_slot(shared.slots[i], *image.value());
            run_native(shared.slots[i].state, shared.slots[i].count_instructions, shared.outcomes[i]);
            shared.outcomes[i].memory = *image.value();
        }
        if (write(socket, &status, 1) != 1) break;
    }
    _exit(0);
}

Result<std::unique_ptr<Oracle>> Oracle::create() {
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return error("mmap: {}", std::strerror(errno));
    auto* shared = new (memory) Shared;
    base_image();
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets))
        return error("socketpair: {}", std::strerror(errno));
    pid_t child = fork();
    if (child < 0) return error("fork: {}", std::strerror(errno));
    if (child == 0) {
        close(sockets[0]);
        serve(*shared, sockets[1]);
    }
    close(sockets[1]);
    std::unique_ptr<Oracle> oracle(new Oracle(shared, sockets[0], child));
    uint8_t ready = 0;
    if (read(sockets[0], &ready, 1) != 1 || !ready) return error("the oracle's process didn't start");
    return oracle;
}

Oracle::~Oracle() {
    close(socket_);
    waitpid(child_, nullptr, 0);
    munmap(shared_, sizeof(Shared));
}

Result<std::span<const Outcome>> Oracle::run(std::span<const Case> cases) {
    CHECK(cases.size() <= kBatch);
    shared_->count = cases.size();
    for (size_t i = 0; i < cases.size(); ++i) write_slot(cases[i], shared_->slots[i]);
    uint8_t token = 1;
    if (write(socket_, &token, 1) != 1 || read(socket_, &token, 1) != 1)
        return error("the oracle's process died in one of the cases {} ... {}", cases.front().name,
                     cases.back().name);
    return std::span<const Outcome>(shared_->outcomes.data(), cases.size());
}

}  // namespace lockstep::instructions
