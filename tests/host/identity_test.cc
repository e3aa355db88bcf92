// SPDX-License-Identifier: Apache-2.0
// Clusters: who becomes a member, by what, and who is none any more.
#include <gtest/gtest.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "identity_support.h"

namespace lockstep::host {
namespace {

void expect_failure(const Result<void>& result, const std::string& part) {
    ASSERT_FALSE(result.ok()) << part;
    expect_contains(result.error().message(), part);
}
template <typename T>
void expect_failure(const Result<T>& result, const std::string& part) {
    ASSERT_FALSE(result.ok()) << part;
    expect_contains(result.error().message(), part);
}

JoinToken sample_token() {
    return {.name = "host-b",
            .addresses = {"10.1.0.1:7700", "[fd00::1]:7700"},
            .authority = {1, 2, 3},
            .id = {4, 5},
            .secret = {6, 7},
            .until_s = kToday};
}

TEST(JoinToken, SaysTheSameOnTheOtherSide) {
    JoinToken token = parse_token(token_text(sample_token())).take();
    EXPECT_EQ(token.name, "host-b");
    EXPECT_EQ(token.addresses, sample_token().addresses);
    EXPECT_EQ(token.authority, sample_token().authority);
    EXPECT_EQ(token.id, sample_token().id);
    EXPECT_EQ(token.secret, sample_token().secret);
    EXPECT_EQ(token.until_s, kToday);
}

TEST(JoinToken, ThatIsCutOrMistypedIsNone) {
    std::string text = token_text(sample_token());
    for (size_t size = 0; size < text.size(); ++size)
        expect_failure(parse_token(text.substr(0, size)), "copy the line");
    for (size_t i = 0; i < text.size(); ++i) {
        std::string wrong = text;
        wrong[i] = wrong[i] == '0' ? '1' : '0';
        EXPECT_FALSE(parse_token(wrong).ok()) << i;
        wrong[i] = 'x';
        expect_failure(parse_token(wrong), "copy the line");
    }
    expect_failure(parse_token(std::string(1 << 20, 'a')), "copy the line");
}

TEST(JoinToken, NamesOfHostsBecomePartsOfCertificates) {
    for (const char* good : {"a", "host-b", "host-b.example.com", "7"})
        EXPECT_TRUE(check_host_name(good).ok()) << good;
    for (const char* bad : {"", "-a", "a.", "a b", "a/b", "a\n", "a,DNS:b", "ä"})
        EXPECT_FALSE(check_host_name(bad).ok()) << bad;
    EXPECT_FALSE(check_host_name(std::string(64, 'a')).ok());
}

TEST(Identity, AHostThatIsInNoClusterSaysWhatToDo) {
    TemporaryFolder folder;
    expect_failure(load_identity(folder.path()), "cluster init");
}

TEST(Identity, TheFirstHostHasASecretKeyAndACertificateFor90Days) {
    TestCluster cluster;
    Identity identity = cluster.identity();
    EXPECT_EQ(identity.name(), "host-a");
    Validity validity = validity_of(*identity.own);
    EXPECT_NEAR(static_cast<double>(validity.until_s),
                static_cast<double>(date_now_s() + 90 * kSecondsPerDay), 60);
    for (const char* secret : {"/host.key", "/authority.key"}) {
        struct stat info {};
        ASSERT_EQ(::stat((cluster.folder("authority") + secret).c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777, 0600u) << secret;
    }
    expect_failure(begin_cluster(cluster.folder("authority"), "host-a", {}, kToday), "in a cluster already");
}

TEST(Identity, IsRenewedWhenAThirdIsLeft) {
    Validity validity{1000, 1900};
    EXPECT_FALSE(is_to_be_renewed(validity, 1000));
    EXPECT_FALSE(is_to_be_renewed(validity, 1599));
    EXPECT_TRUE(is_to_be_renewed(validity, 1600));
    EXPECT_TRUE(is_to_be_renewed(validity, 5000));
}

TEST(Identity, TakesOnlyANewCertificateThatIsItsOwn) {
    TestCluster cluster, other;
    Identity joined = cluster.join("host-b"), stranger = cluster.join("host-c");
    auto issue = [](const TestCluster& by, Identity& whose, const std::string& name) {
        return pem_of(*issue_certificate(by.folder("authority"), *whose.key, name, date_now_s()).take());
    };
    std::string folder = cluster.folder("host-b");
    expect_failure(renew_certificate(folder, issue(cluster, stranger, "host-b")),
                   "isn't for this host's key");
    expect_failure(renew_certificate(folder, issue(other, joined, "host-b")), "another cluster");
    expect_failure(renew_certificate(folder, issue(cluster, joined, "host-c")),
                   "is for host-c, not for host-b");
    expect_failure(renew_certificate(folder, to_bytes("nonsense")), "is none");
    std::string before = serial_of(*cluster.identity("host-b").own);
    EXPECT_TRUE(renew_certificate(folder, issue(cluster, joined, "host-b")).ok());
    EXPECT_NE(serial_of(*cluster.identity("host-b").own), before);
}

TEST(Identity, AFileOfAnotherClusterIsNamed) {
    TestCluster cluster, other;
    cluster.join("host-b");
    std::filesystem::copy_file(other.folder("authority") + "/authority.crt",
                               cluster.folder("host-b") + "/authority.crt",
                               std::filesystem::copy_options::overwrite_existing);
    expect_failure(load_identity(cluster.folder("host-b")), "signed by another cluster");
}

TEST(Authority, ATokenIsGoodOnceAndInTime) {
    TestCluster cluster;
    std::string folder = cluster.folder("authority");
    JoinToken token = issue_token(folder, "host-b", kToday).take();
    EXPECT_EQ(token.authority, fingerprint_of(*cluster.identity().authority));
    expect_failure(issue_token(folder, "host-a", kToday), "host-a is this host");
    TokenSecret wrong = token.secret;
    wrong[3] ^= 1;
    expect_failure(use_token(folder, token.id, wrong, kToday), "none of this cluster");
    expect_failure(use_token(folder, token.id, token.secret, kToday + 1), "was good until 2027-01-15");
    EXPECT_EQ(use_token(folder, token.id, token.secret, kToday).value(), "host-b");
    expect_failure(use_token(folder, token.id, token.secret, kToday), "used already");
    expect_failure(use_token(folder, TokenId{}, token.secret, kToday), "none of this cluster");
}

TEST(Authority, OfManyWhoUseATokenAtOnceOneIsLetIn) {
    TestCluster cluster;
    std::string folder = cluster.folder("authority");
    JoinToken token = issue_token(folder, "host-b", kToday).take();
    std::atomic<int> let_in = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] { let_in += use_token(folder, token.id, token.secret, kToday).ok(); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(let_in, 1);
}

TEST(Authority, IsOneHostAlone) {
    TestCluster cluster;
    cluster.join("host-b");
    EXPECT_TRUE(write_authority_addresses(cluster.folder("host-b"), {"10.1.0.1:7700"}).ok());
    expect_failure(issue_token(cluster.folder("host-b"), "host-c", kToday), "do it there (10.1.0.1:7700)");
}

TEST(Authority, SignsNoKeyWithoutAProof) {
    Key key = make_key().take();
    Bytes request = make_request(*key).take();
    EXPECT_TRUE(key_of_request(request).ok());
    for (size_t i = 0; i < request.size(); i += 7) {
        Bytes damaged = request;
        damaged[i] ^= 0x55;
        EXPECT_FALSE(key_of_request(damaged).ok()) << i;
    }
    EXPECT_FALSE(key_of_request({}).ok());
}

TEST(Authority, RemovalsAddUpAndNeverGoBack) {
    TestCluster cluster;
    std::string folder = cluster.folder("authority");
    cluster.join("host-b");
    cluster.join("host-c");
    cluster.join("host-e");
    uint64_t now = date_now_s();
    auto count = [&] { return serials_in(*cluster.identity().removals).size(); };
    EXPECT_TRUE(remove_host(folder, "host-b", now).ok());
    EXPECT_EQ(count(), 1u);
    Bytes first = pem_of(*cluster.identity().removals);
    EXPECT_TRUE(remove_host(folder, "host-c", now).ok());
    EXPECT_EQ(count(), 2u) << "in the same second";
    EXPECT_TRUE(remove_host(folder, "host-e", now - 1000).ok());
    EXPECT_EQ(count(), 3u) << "by a clock that was put back";
    EXPECT_TRUE(renew_removals(folder, first).ok());
    EXPECT_EQ(count(), 3u) << "an old list brings nobody back";
    expect_failure(remove_host(folder, "host-d", kToday), "nobody of the name host-d");
    expect_failure(remove_host(folder, "host-a", kToday), "can't be removed");
    TestCluster other;
    other.join("host-b");
    EXPECT_TRUE(remove_host(other.folder("authority"), "host-b", date_now_s() + 100).ok());
    expect_failure(renew_removals(folder, pem_of(*other.identity().removals)), "another cluster");
}

TEST(Authority, RemovalsAtTheSameTimeAllCount) {
    TestCluster cluster;
    std::string folder = cluster.folder("authority");
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) cluster.join(fmt::format("host-{}", i));
    for (int i = 0; i < 8; ++i)
        threads.emplace_back(
            [&, i] { EXPECT_TRUE(remove_host(folder, fmt::format("host-{}", i), date_now_s()).ok()); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(serials_in(*cluster.identity().removals).size(), 8u);
}

TEST(Authority, AHostThatWasRemovedComesBackByANewTokenAlone) {
    TestCluster cluster;
    std::string folder = cluster.folder("authority");
    Identity joined = cluster.join("host-b");
    uint64_t now = date_now_s();
    JoinToken unused = issue_token(folder, "host-b", now).take(),
              other = issue_token(folder, "host-c", now).take();
    EXPECT_TRUE(issue_to_member(folder, *joined.key, "host-b", now).ok());
    EXPECT_TRUE(remove_host(folder, "host-b", now).ok());
    expect_failure(issue_to_member(folder, *joined.key, "host-b", now), "host-b was removed");
    expect_failure(use_token(folder, unused.id, unused.secret, now), "none of this cluster");
    EXPECT_TRUE(use_token(folder, other.id, other.secret, now).ok()) << "another host's is good still";
    JoinToken fresh = issue_token(folder, "host-b", now).take();
    EXPECT_TRUE(use_token(folder, fresh.id, fresh.secret, now).ok());
    EXPECT_TRUE(issue_certificate(folder, *joined.key, "host-b", now).ok());
    EXPECT_TRUE(issue_to_member(folder, *joined.key, "host-b", now).ok());
}

TEST(Authority, APersonHasARoleAndIsListedApartFromHosts) {
    TestCluster cluster;
    std::string folder = cluster.folder("authority");
    for (const char* bad : {"", "../alice", "user/alice", "alice bob"})
        EXPECT_FALSE(issue_to_person(folder, bad, Role::kViewer, date_now_s()).ok()) << bad;
    PersonsCertificate alice = issue_to_person(folder, "alice", Role::kOperator, date_now_s()).take();
    EXPECT_EQ(name_of(*alice.certificate), "alice");
    EXPECT_TRUE(is_persons(*alice.certificate));
    EXPECT_EQ(role_of(*alice.certificate), Role::kOperator);
    EXPECT_FALSE(is_persons(*cluster.identity().own));
    EXPECT_EQ(role_of(*cluster.identity().own), std::nullopt);
    EXPECT_EQ(issued_certificates(folder).value().back().name, "user/alice");
    // A host of the same name is somebody else.
    cluster.join("alice");
    EXPECT_TRUE(remove_host(folder, "user/alice", date_now_s()).ok());
    EXPECT_EQ(serials_in(*cluster.identity().removals),
              std::vector<std::string>{serial_of(*alice.certificate)});
}

TEST(Authority, CertificatesNameAddressesThatClientsCheck) {
    TestCluster cluster;
    Identity own = cluster.identity(), joined = cluster.join("host-b");
    EXPECT_EQ(X509_check_ip_asc(own.own.get(), "127.0.0.1", 0), 1) << "where it was begun";
    EXPECT_TRUE(addresses_of(*joined.own).empty());
    joined.own = issue_to_member(cluster.folder("authority"), *joined.key, "host-b", date_now_s(),
                                 {"10.1.0.2", "fd00::2", "", "host-b", "10.1.0.3,DNS:host-a", "fe80::1%eth0"})
                     .take();
    EXPECT_EQ(addresses_of(*joined.own), (std::vector<std::string>{"10.1.0.2", "fd00::2"}));
    EXPECT_EQ(X509_check_ip_asc(joined.own.get(), "fd00::2", 0), 1);
    EXPECT_EQ(X509_check_ip_asc(joined.own.get(), "10.1.0.3", 0), 0);
    EXPECT_EQ(X509_check_host(joined.own.get(), "host-a", 0, 0, nullptr), 0)
        << "an address is no way to another name";
    EXPECT_EQ(X509_check_host(joined.own.get(), "host-b", 0, 0, nullptr), 1);
}

TEST(Authority, OfWhichTheKeyAloneWasSavedRenews) {
    TestCluster cluster;
    Identity joined = cluster.join("host-b");
    std::filesystem::remove(cluster.folder("authority") + "/issued");
    EXPECT_TRUE(issue_to_member(cluster.folder("authority"), *joined.key, "host-b", date_now_s()).ok());
}

}  // namespace
}  // namespace lockstep::host
