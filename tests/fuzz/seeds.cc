// SPDX-License-Identifier: Apache-2.0
// Writes the first inputs of the corpora into a folder: what the project itself writes.
//
//     fuzz_seeds tests/fuzz/corpus
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "../machine/small_kernel.h"
#include "../record/sample_log.h"
#include "base/check.h"
#include "bus/output.h"
#include "host/certificates.h"
#include "machine/machine.h"
#include "replica/message.h"
#include "vmm/cluster_messages.h"
#include "vmm/introduction.h"

namespace lockstep {
namespace {

class Folder {
  public:
    explicit Folder(std::filesystem::path path) : path_(std::move(path)) {}

    void write(const char* target, std::string_view name, ByteSpan bytes) const {
        std::filesystem::create_directories(path_ / target);
        std::ofstream file(path_ / target / name, std::ios::binary);
        file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        CHECK(file.good(), "cannot write {}", name);
    }

  private:
    std::filesystem::path path_;
};

/// A message of each kind, its fields as a new one has them.
template <size_t... kKinds>
void messages(const Folder& folder, std::index_sequence<kKinds...>) {
    auto write = [&folder](replica::Message message) {
        std::string_view name = replica::info_of(message).name;
        folder.write("message", name, replica::encode({}, std::move(message)));
    };
    (write(std::variant_alternative_t<kKinds, replica::Message>{}), ...);
}

void introductions(const Folder& folder) {
    vmm::Introduction introduction;
    introduction.build = "build";
    introduction.vm_name = "guest";
    introduction.settings = {1, 2, 3};
    folder.write("introduction", "introduction", vmm::encode_introduction(introduction));
    folder.write("introduction", "answer", vmm::encode_answer({false, "no room", 7700}));
}

void identities(const Folder& folder) {
    constexpr uint64_t kFrom = 1'700'000'000;
    host::Authority authority = host::make_authority("seed", kFrom).take();
    host::Key key = host::make_key().take();
    Bytes request = host::make_request(*key).take();
    Bytes certificate = host::pem_of(*host::sign_host(authority, *key, "host-b", {kFrom, 2 * kFrom}).take());
    Bytes removals = host::pem_of(*host::sign_removals(authority, {"1234"}, kFrom).take());
    host::JoinToken token{.name = "host-b", .addresses = {"10.1.0.1:7700"}, .until_s = kFrom};
    folder.write("token", "token", record::encode_fields(token));
    folder.write("token", "key", request);
    folder.write("token", "certificate", certificate);
    folder.write("token", "request",
                 vmm::encode_cluster_request({.wish = vmm::ClusterWish::kJoin, .key_request = request}));
    folder.write("token", "answer",
                 vmm::encode_cluster_answer({.accepted = true,
                                             .certificate = certificate,
                                             .authority = certificate,
                                             .removals = removals,
                                             .addresses = token.addresses}));
    folder.write("sealed_datagram", "datagram", Bytes(60, 7));
    folder.write("tls", "changes", Bytes{0, 5, 1, 0, 40, 255});
}

void logs(const Folder& folder) {
    using namespace record;
    SeededRandom random(1);
    std::vector<Entry> entries = sample_entries(random, 24);
    folder.write("log", "plain", write_log(sample_start(), {}, entries, 5, Compression::kNone).bytes);
    folder.write("log", "compressed", write_log(sample_start(), {}, entries, 9, Compression::kZstd).bytes);
    entries = sample_entries(random, 8, Icount(1'000'000));
    folder.write(
        "log", "snapshot",
        write_log(sample_start(Origin::kSnapshot), Bytes(500, 7), entries, 5, Compression::kZstd).bytes);
}

class NoSink : public bus::OutputSink {
  public:
    void output(bus::Output) override {}
};

void machine_states(const Folder& folder) {
    using namespace machine;
    NoSink sink;
    MachineConfig config;
    config.memory_bytes = 64 << 20;
    config.kernel = make_kernel(SMALL_KERNEL(timer));
    config.disks.push_back({1 << 20, false, "fuzz"});
    config.networks.emplace_back();
    std::unique_ptr<Machine> machine = Machine::create(config, {}, sink).take();
    Bytes bytes;
    ByteWriter out(bytes);
    machine->run(Icount(2000));
    machine->save(out);
    folder.write("machine_state", "timer", bytes);
}

void disk_requests(const Folder& folder) {
    using namespace bus;
    folder.write("disk_request", "read",
                 record::encode_fields(DiskRequest{1, DiskOperation::kRead, 4096, 512, {}}));
    folder.write("disk_request", "write",
                 record::encode_fields(DiskRequest{2, DiskOperation::kWrite, 0, 16, Bytes(16, 1)}));
}

}  // namespace
}  // namespace lockstep

int main(int count, char** arguments) {
    using namespace lockstep;
    if (count != 2) {
        std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
        return 2;
    }
    Folder folder(arguments[1]);
    messages(folder, std::make_index_sequence<std::variant_size_v<replica::Message>>());
    introductions(folder);
    identities(folder);
    logs(folder);
    machine_states(folder);
    disk_requests(folder);
}
