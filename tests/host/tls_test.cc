// SPDX-License-Identifier: Apache-2.0
// Streams that are encrypted, and who gets one.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>

#include "host/channel.h"
#include "host/tls_handshake.h"
#include "identity_support.h"

namespace lockstep::host {
namespace {

using Outcome = std::optional<Result<SecuredStream>>;

class TlsTest : public ::testing::Test {
  protected:
    void SetUp() override {
        loop_ = make_loop();
        connect_sockets();
    }
    void connect_sockets() {
        int ends[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        near_ = FileDescriptor(ends[0]);
        far_ = FileDescriptor(ends[1]);
    }
    std::unique_ptr<TlsHandshake> handshake(FileDescriptor socket, Result<Tls> tls, Outcome& outcome) {
        EXPECT_TRUE(tls.ok());
        return std::make_unique<TlsHandshake>(
            *loop_, make_tcp_stream(std::move(socket), {}), tls.take(),
            [&outcome](Result<SecuredStream> done) { outcome.emplace(std::move(done)); });
    }
    /// Both sides shake hands. Which side sees a failure first differs; the client may learn of it only as it reads.
    void shake_hands(Result<Tls> client, Result<Tls> server) {
        connect_sockets();
        client_.reset();
        server_.reset();
        auto one = handshake(std::move(near_), std::move(client), client_);
        auto two = handshake(std::move(far_), std::move(server), server_);
        EXPECT_TRUE(run_until(*loop_, [&] { return client_ && server_; }));
    }
    std::string client_says() {
        if (!client_->ok()) return client_->error().message();
        uint8_t byte;
        long got = client_->value().stream->read({&byte, 1});
        return got < 0 ? client_->value().stream->explain(static_cast<int>(-got)) : "nothing";
    }
    std::string server_says() { return server_->ok() ? "" : server_->error().message(); }

    TestCluster cluster_;
    std::unique_ptr<EventLoop> loop_;
    FileDescriptor near_, far_;
    Outcome client_, server_;
};

TEST_F(TlsTest, MembersKnowEachOtherAndHaveTheSameKeys) {
    shake_hands(tls_client(cluster_.join("host-b"), TlsPurpose::kPair), tls_server(cluster_.identity()));
    ASSERT_TRUE(client_->ok() && server_->ok()) << client_says() << server_says();
    EXPECT_EQ(client_->value().peer_name, "host-a");
    EXPECT_EQ(server_->value().peer_name, "host-b");
    EXPECT_EQ(server_->value().purpose, TlsPurpose::kPair);
    EXPECT_EQ(client_->value().datagram_keys.sends, server_->value().datagram_keys.receives);
    EXPECT_EQ(client_->value().datagram_keys.receives, server_->value().datagram_keys.sends);
    EXPECT_NE(client_->value().datagram_keys.receives, client_->value().datagram_keys.sends);
    DatagramKey first = client_->value().datagram_keys.sends;
    shake_hands(tls_client(cluster_.identity("host-b"), TlsPurpose::kPair), tls_server(cluster_.identity()));
    EXPECT_NE(client_->value().datagram_keys.sends, first) << "each session has its own";
}

TEST_F(TlsTest, WhoIsNoMemberGetsASentence) {
    TestCluster other;
    shake_hands(tls_client(other.identity(), TlsPurpose::kPair), tls_server(cluster_.identity()));
    expect_contains(client_says(), "certificate is none of this cluster");
    shake_hands(tls_joiner(fingerprint_of(*cluster_.identity().authority)), tls_server(cluster_.identity()));
    ASSERT_TRUE(server_->ok());
    EXPECT_EQ(server_->value().purpose, TlsPurpose::kCluster) << "he may ask to be let in, and nothing else";
    EXPECT_EQ(server_->value().peer_name, "");
    shake_hands(tls_joiner(fingerprint_of(*other.identity().authority)), tls_server(cluster_.identity()));
    expect_contains(client_says(), "certificate is none of this cluster");
}

/// An identity whose certificate is a person's.
Identity person_in(const TestCluster& cluster, const std::string& name, Role role) {
    Identity person = cluster.identity();
    PersonsCertificate issued = issue_to_person(cluster.folder("authority"), name, role, date_now_s()).take();
    person.own = std::move(issued.certificate);
    person.key = std::move(issued.key);
    return person;
}

TEST_F(TlsTest, APersonIsNoHost) {
    for (TlsPurpose purpose : {TlsPurpose::kPair, TlsPurpose::kCluster}) {
        shake_hands(tls_client(person_in(cluster_, "host-b", Role::kAdmin), purpose),
                    tls_server(cluster_.identity()));
        expect_contains(server_says(), "a person's, which is good for the API alone");
    }
    shake_hands(tls_client(cluster_.join("host-c"), TlsPurpose::kPair),
                tls_server(person_in(cluster_, "host-b", Role::kAdmin)));
    EXPECT_FALSE(client_->ok()) << "a person has served a host";
}

/// A client of the API, as a browser or curl is.
Result<Tls> api_client(const Identity& identity) {
    Result<Tls> tls = tls_client(identity, TlsPurpose::kPair);
    static constexpr unsigned char kHttp[] = "\x02h2\x08http/1.1";
    SSL_set_alpn_protos(tls.value().get(), kHttp, sizeof kHttp - 1);
    return tls;
}

TEST_F(TlsTest, TheApiKnowsPeopleByTheirRoles) {
    TlsSettings settings = tls_api_settings(cluster_.identity()).take();
    for (const RoleRow& row : kRoles) {
        shake_hands(api_client(person_in(cluster_, "alice", row.role)), tls_api_server(settings));
        ASSERT_TRUE(client_->ok() && server_->ok()) << client_says() << server_says();
        EXPECT_EQ(server_->value().peer_name, "alice");
        EXPECT_EQ(server_->value().peer_role, row.role);
    }
    shake_hands(api_client(cluster_.join("host-b")), tls_api_server(settings));
    ASSERT_TRUE(server_->ok()) << server_says();
    EXPECT_EQ(server_->value().peer_role, std::nullopt) << "a host";
}

TEST_F(TlsTest, TheApiRefusesWhoWasRemovedAndStrangers) {
    TestCluster other;
    Identity alice = person_in(cluster_, "alice", Role::kViewer);
    EXPECT_TRUE(remove_host(cluster_.folder("authority"), listed_name_of_person("alice"), date_now_s()).ok());
    TlsSettings settings = tls_api_settings(cluster_.identity()).take();
    shake_hands(api_client(alice), tls_api_server(settings));
    expect_contains(server_says(), "was removed");
    Result<Tls> stranger = api_client(person_in(other, "alice", Role::kAdmin));
    SSL_set_verify(stranger.value().get(), SSL_VERIFY_NONE, nullptr);
    shake_hands(std::move(stranger), tls_api_server(settings));
    expect_contains(server_says(), "none of this cluster");
}

/// A client that trusts whoever serves, as an attacker's may: the server alone must refuse it.
Result<Tls> careless(const Identity& identity, TlsPurpose purpose) {
    Result<Tls> tls = tls_client(identity, purpose);
    SSL_set_verify(tls.value().get(), SSL_VERIFY_NONE, nullptr);
    return tls;
}

TEST_F(TlsTest, ACertificateOfAnotherClusterIsRefusedByTheServer) {
    TestCluster other;
    shake_hands(careless(other.identity(), TlsPurpose::kPair), tls_server(cluster_.identity()));
    expect_contains(server_says(), "its certificate is none of this cluster");
    expect_contains(client_says(), "this host's certificate is none of its cluster");
}

TEST_F(TlsTest, AnExpiredCertificateIsRefusedOnBothSides) {
    uint64_t now = date_now_s();
    Identity expired = cluster_.join("host-b", {now - 1000, now - 10}), good = cluster_.join("host-c");
    shake_hands(tls_client(expired, TlsPurpose::kPair), tls_server(good));
    expect_contains(server_says(), "its certificate has expired");
    expect_contains(client_says(), "this host's certificate has expired");
    shake_hands(tls_client(good, TlsPurpose::kPair), tls_server(expired));
    expect_contains(client_says(), "its certificate has expired");
    Identity early = cluster_.join("host-d", {now + 1000, now + 2000});
    shake_hands(tls_client(early, TlsPurpose::kPair), tls_server(good));
    expect_contains(server_says(), "isn't valid yet");
}

TEST_F(TlsTest, ARemovedHostIsRefusedOnBothSides) {
    Identity removed = cluster_.join("host-b");
    EXPECT_TRUE(remove_host(cluster_.folder("authority"), "host-b", date_now_s()).ok());
    shake_hands(tls_client(removed, TlsPurpose::kPair), tls_server(cluster_.identity()));
    expect_contains(server_says(), "it was removed from the cluster");
    expect_contains(client_says(), "this host was removed from the cluster");
    shake_hands(tls_client(cluster_.identity(), TlsPurpose::kPair), tls_server(removed));
    expect_contains(client_says(), "it was removed from the cluster");
}

TEST_F(TlsTest, AListOfRemovalsOfAClockThatIsAheadStopsNobodyElse) {
    Identity good = cluster_.join("host-c");
    cluster_.join("host-b");
    EXPECT_TRUE(
        remove_host(cluster_.folder("authority"), "host-b", date_now_s() + kClockSkewSeconds - 10).ok());
    shake_hands(tls_client(good, TlsPurpose::kPair), tls_server(cluster_.identity()));
    EXPECT_TRUE(client_->ok() && server_->ok()) << client_says() << server_says();
}

TEST_F(TlsTest, WithoutACertificateNoPair) {
    Result<Tls> tls = careless(cluster_.identity(), TlsPurpose::kPair);
    SSL_set_cert_cb(
        tls.value().get(),
        [](SSL* session, void*) {
            SSL_certs_clear(session);
            return 1;
        },
        nullptr);
    shake_hands(std::move(tls), tls_server(cluster_.identity()));
    expect_contains(server_says(), "must show a certificate");
    expect_contains(client_says(), "must show a certificate");
}

TEST_F(TlsTest, OlderVersionsAndOtherCiphersAreRefused) {
    Result<Tls> old = tls_client(cluster_.identity(), TlsPurpose::kPair);
    SSL_set_min_proto_version(old.value().get(), 0);
    SSL_set_max_proto_version(old.value().get(), TLS1_2_VERSION);
    shake_hands(std::move(old), tls_server(cluster_.identity()));
    expect_contains(server_says(), "older TLS than 1.3");
    Result<Tls> odd = tls_client(cluster_.identity(), TlsPurpose::kPair);
    SSL_set_ciphersuites(odd.value().get(), "TLS_AES_128_CCM_SHA256");
    shake_hands(std::move(odd), tls_server(cluster_.identity()));
    EXPECT_FALSE(server_->ok());
}

TEST_F(TlsTest, NonsenseAndSilenceGetASentence) {
    auto one = handshake(std::move(far_), tls_server(cluster_.identity()), server_);
    EXPECT_EQ(::send(near_.get(), "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
    EXPECT_TRUE(run_until(*loop_, [&] { return server_.has_value(); }));
    expect_contains(server_says(), "doesn't speak TLS");
    connect_sockets();
    server_.reset();
    auto two = handshake(std::move(far_), tls_server(cluster_.identity()), server_);
    EXPECT_TRUE(run_until(*loop_, [&] { return server_.has_value(); }));
    expect_contains(server_says(), "didn't shake hands in time");
}

/// What a client sent once, sent again: every session has numbers of its own.
TEST_F(TlsTest, ARecordedSessionIsWorthNothing) {
    Identity joined = cluster_.join("host-b");
    auto client = handshake(std::move(near_), tls_client(joined, TlsPurpose::kPair), client_);
    FileDescriptor client_end = std::move(far_);
    connect_sockets();
    auto server = handshake(std::move(far_), tls_server(cluster_.identity()), server_);
    Bytes recorded(65536);
    size_t used = 0;
    auto carry = [&] {
        ssize_t got = ::recv(client_end.get(), recorded.data() + used, recorded.size() - used, MSG_DONTWAIT);
        if (got > 0) {
            EXPECT_EQ(::send(near_.get(), recorded.data() + used, static_cast<size_t>(got), 0), got);
            used += static_cast<size_t>(got);
        }
        uint8_t back[16384];
        got = ::recv(near_.get(), back, sizeof back, MSG_DONTWAIT);
        if (got > 0) {
            EXPECT_EQ(::send(client_end.get(), back, static_cast<size_t>(got), 0), got);
        }
    };
    for (int i = 0; i < 500 && !(client_ && server_); ++i) {
        carry();
        loop_->run_once(kNsPerMs);
    }
    ASSERT_TRUE(client_ && server_ && server_->ok());
    connect_sockets();
    server_.reset();
    auto again = handshake(std::move(far_), tls_server(cluster_.identity()), server_);
    EXPECT_EQ(::send(near_.get(), recorded.data(), used, 0), static_cast<ssize_t>(used));
    EXPECT_TRUE(run_until(*loop_, [&] { return server_.has_value(); }));
    EXPECT_FALSE(server_->ok()) << "the replay was let in";
}

/// They are in OpenSSL's buffer then, and the descriptor announces nothing.
TEST_F(TlsTest, FirstWordsThatComeWithTheEndOfTheHandshakeAreHeard) {
    std::unique_ptr<Channel> sender, receiver;
    std::vector<std::string> frames;
    Identity joined = cluster_.join("host-b");
    TlsHandshake client(*loop_, make_tcp_stream(std::move(near_), {}),
                        tls_client(joined, TlsPurpose::kPair).take(), [&](Result<SecuredStream> done) {
                            sender = std::make_unique<Channel>(*loop_, std::move(done.value().stream),
                                                               "server", ChannelOptions{});
                            sender->send(to_bytes("introduction"));
                        });
    auto server = handshake(std::move(far_), tls_server(cluster_.identity()), server_);
    // The server sees to nothing until all is there.
    EXPECT_TRUE(run_until(*loop_, [&] { return server_.has_value(); }));
    ASSERT_TRUE(sender && server_->ok());
    receiver =
        std::make_unique<Channel>(*loop_, std::move(server_->value().stream), "client", ChannelOptions{});
    receiver->set_handlers(
        {.frame = [&](ByteSpan frame) { frames.push_back(to_text(frame)); }, .closed = {}, .drained = {}});
    EXPECT_TRUE(run_until(
        *loop_, [&] { return !frames.empty(); }, kNsPerSecond));
    EXPECT_EQ(frames, std::vector<std::string>{"introduction"});
}

/// Two channels over TLS.
class TlsChannelTest : public TlsTest {
  protected:
    void SetUp() override {
        TlsTest::SetUp();
        shake_hands(tls_client(cluster_.join("host-b"), TlsPurpose::kPair), tls_server(cluster_.identity()));
        ASSERT_TRUE(client_->ok() && server_->ok());
        sender_ = std::make_unique<Channel>(*loop_, std::move(client_->value().stream), "server", options_);
        receiver_ = std::make_unique<Channel>(*loop_, std::move(server_->value().stream), "client", options_);
        receiver_->set_handlers(
            {.frame = [this](ByteSpan frame) { frames_.emplace_back(frame.begin(), frame.end()); },
             .closed =
                 [this](CloseCause cause, const Error& why) {
                     cause_ = cause;
                     why_ = why.message();
                 },
             .drained = {}});
        sender_->set_handlers({.frame = [](ByteSpan) {}, .closed = {}, .drained = [this] { ++drained_; }});
    }
    static Bytes frame(size_t size, uint8_t seed) {
        Bytes bytes(size);
        for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 251 + seed);
        return bytes;
    }
    ChannelOptions options_;
    std::unique_ptr<Channel> sender_, receiver_;
    std::vector<Bytes> frames_;
    std::optional<CloseCause> cause_;
    std::string why_;
    int drained_ = 0;
};

TEST_F(TlsChannelTest, FramesOfAllSizesArriveInOrder) {
    std::vector<Bytes> sent;
    for (size_t size : {0, 1, 100, 16379, 16380, 16381, 16384, 32768, 100'000, 3'000'000, 5, 20'000'000, 7})
        sent.push_back(frame(size, static_cast<uint8_t>(sent.size())));
    for (const Bytes& one : sent) sender_->send(one);
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == sent.size(); }));
    EXPECT_EQ(frames_, sent);
    EXPECT_TRUE(run_until(*loop_, [&] { return drained_ == 1; }));
    EXPECT_EQ(sender_->queued_bytes(), 0u);
}

TEST_F(TlsChannelTest, FramesInPartsArrive) {
    std::vector<Bytes> pieces;
    std::vector<ByteSpan> parts;
    Bytes whole;
    for (size_t i = 0; i < 1000; ++i) {
        pieces.push_back(frame(i % 37 == 0 ? 20'000 : i, static_cast<uint8_t>(i)));
        whole.insert(whole.end(), pieces.back().begin(), pieces.back().end());
    }
    for (const Bytes& piece : pieces) parts.emplace_back(piece);
    sender_->send(parts);
    EXPECT_TRUE(run_until(*loop_, [&] { return !frames_.empty(); }));
    EXPECT_EQ(frames_[0], whole);
}

/// The descriptor announces nothing of what OpenSSL has read ahead.
TEST_F(TlsChannelTest, WhatWasReadBeforeAPauseComesAfterIt) {
    receiver_->pause_receiving();
    for (uint8_t i = 0; i < 200; ++i) sender_->send(frame(1000, i));
    run_for(*loop_, 20 * kNsPerMs);
    EXPECT_TRUE(frames_.empty());
    receiver_->set_handlers({.frame =
                                 [this](ByteSpan one) {
                                     frames_.emplace_back(one.begin(), one.end());
                                     receiver_->pause_receiving();  // after each
                                     loop_->post([this] { receiver_->resume_receiving(); });
                                 },
                             .closed = {},
                             .drained = {}});
    EXPECT_TRUE(run_until(*loop_, [&] { return frames_.size() == 200; }));
}

TEST_F(TlsChannelTest, AKilledPeerIsAClosedChannel) {
    sender_->send(frame(10, 0));
    ::shutdown(sender_->descriptor(), SHUT_WR);  // as the death watch does
    EXPECT_TRUE(run_until(*loop_, [&] { return cause_.has_value(); }));
    EXPECT_EQ(cause_, CloseCause::kPeerClosed);
    EXPECT_EQ(frames_.size(), 1u) << "what was sent before arrives";
}

TEST_F(TlsChannelTest, WhatSomebodyElseSaysBreaksTheChannel) {
    uint8_t record[64] = {23, 3, 3, 0, 59};
    EXPECT_EQ(::send(sender_->descriptor(), record, sizeof record, MSG_NOSIGNAL), 64);
    EXPECT_TRUE(run_until(*loop_, [&] { return cause_.has_value(); }));
    EXPECT_EQ(cause_, CloseCause::kBroken) << "it proves nothing of the other side's death";
    expect_contains(why_, "was changed on the way");
    EXPECT_TRUE(frames_.empty());
}

TEST_F(TlsChannelTest, ClosingSendsWhatIsQueued) {
    Bytes large = frame(8'000'000, 1);
    sender_->send(large);
    EXPECT_GT(sender_->queued_bytes(), 0u);
    bool done = false;
    sender_->close_after_sending([&] { done = true; });
    EXPECT_TRUE(run_until(*loop_, [&] { return done && cause_.has_value(); }));
    ASSERT_EQ(frames_.size(), 1u);
    EXPECT_EQ(frames_[0], large);
}

}  // namespace
}  // namespace lockstep::host
