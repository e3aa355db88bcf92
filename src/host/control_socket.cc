// SPDX-License-Identifier: Apache-2.0
#include "host/control_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "host/files.h"

namespace lockstep::host {

namespace {

std::string to_line(const Json& content) {
    return content.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json error_answer(const std::string& sentence) { return {{"error", sentence}}; }

Error exchange_error(const std::string& path, ssize_t result) {
    if (result == 0)
        return error("the VM at {} closed the connection without an answer; look at its log", path);
    if (errno == EAGAIN)
        return error("the VM at {} doesn't answer; is it stopped, or its host overloaded?", path);
    return file_error("talk to", path, errno);
}

}  // namespace

struct ControlServer::Client {
    FileDescriptor socket;
    std::string input;
    std::string output;
    bool answering = false;  // a request is with the handler
    bool at_end = false;     // the client sends no more
    Watch watch;
};

Result<std::unique_ptr<ControlServer>> ControlServer::create(EventLoop& loop, const std::string& path,
                                                             Handler handler) {
    FileDescriptor socket = TRY(listen_at_path(path));
    return std::unique_ptr<ControlServer>(
        new ControlServer(loop, std::move(socket), path, std::move(handler)));
}

ControlServer::ControlServer(EventLoop& loop, FileDescriptor socket, std::string path, Handler handler)
    : loop_(loop),
      path_(std::move(path)),
      handler_(std::move(handler)),
      acceptor_(loop, std::move(socket),
                [this](FileDescriptor connection) { accept(std::move(connection)); }) {}

ControlServer::~ControlServer() { unlink(path_.c_str()); }

void ControlServer::accept(FileDescriptor connection) {
    uint64_t id = next_id_++;
    auto client = std::make_shared<Client>();
    client->socket = std::move(connection);
    client->watch = loop_.watch(client->socket.get(), Interest::kRead, [this, id](Ready ready) {
        if (ready.writable) transmit(id);
        if (ready.readable) receive(id);
    });
    clients_[id] = std::move(client);
}

void ControlServer::receive(uint64_t id) {
    auto found = clients_.find(id);
    if (found == clients_.end() || found->second->at_end) return;
    Client& client = *found->second;
    char buffer[4096];
    ssize_t size = recv(client.socket.get(), buffer, sizeof buffer, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size < 0) return void(clients_.erase(found));
    client.input.append(buffer, static_cast<size_t>(size));
    if (size == 0) client.at_end = true;
    take_line(id);
    transmit(id);
}

/// Hands the next request over, unless one is being answered: answers keep the order of the requests.
void ControlServer::take_line(uint64_t id) {
    auto found = clients_.find(id);
    if (found == clients_.end()) return;
    Client& client = *found->second;
    if (client.answering) return;
    size_t end = client.input.find('\n');
    if (end == std::string::npos) {
        if (client.input.size() <= kLongestLine) return;
        client.at_end = true;
        client.input.clear();
        client.output +=
            to_line(error_answer(fmt::format("a request is longer than {} bytes", kLongestLine)));
        return;
    }
    std::string line = client.input.substr(0, end);
    client.input.erase(0, end + 1);
    client.answering = true;
    auto reply = [this, id, alive = std::weak_ptr<bool>(alive_),
                  used = std::make_shared<bool>(false)](const Json& answer_) {
        if (alive.expired() || std::exchange(*used, true)) return;
        answer(id, answer_);
    };
    Json request = Json::parse(line, nullptr, false);
    if (!request.is_object()) return reply(error_answer("the request is no JSON object on one line"));
    handler_(request, std::move(reply));
}

void ControlServer::answer(uint64_t id, const Json& content) {
    auto found = clients_.find(id);
    if (found == clients_.end()) return;
    found->second->output += to_line(content);
    found->second->answering = false;
    // Not from here: the handler that calls this may still be running.
    loop_.post([this, id, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired()) return;
        take_line(id);
        transmit(id);
    });
}

/// Sends what can be sent, and ends the client when nothing more can come of it.
void ControlServer::transmit(uint64_t id) {
    auto found = clients_.find(id);
    if (found == clients_.end()) return;
    Client& client = *found->second;
    if (!client.output.empty()) {
        ssize_t sent = send(client.socket.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) return void(clients_.erase(found));
        if (sent > 0) client.output.erase(0, static_cast<size_t>(sent));
    }
    bool writes = !client.output.empty();
    bool reads = !client.at_end && client.input.size() <= kLongestLine;
    bool more_requests = client.input.find('\n') != std::string::npos;
    if (client.at_end && !writes && !client.answering && !more_requests) return void(clients_.erase(found));
    Interest with_reads = writes ? Interest::kReadWrite : Interest::kRead;
    client.watch.set_interest(reads ? with_reads : (writes ? Interest::kWrite : Interest::kNone));
}

Result<Json> control_exchange(const std::string& path, const Json& request, uint64_t timeout_ns) {
    FileDescriptor socket = TRY(connect_to_path(path, timeout_ns));
    for (int option : {SO_RCVTIMEO, SO_SNDTIMEO}) set_socket_timeout(socket.get(), option, timeout_ns);
    std::string line = to_line(request);
    for (std::string_view rest = line; !rest.empty();) {
        ssize_t sent = send(socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return exchange_error(path, sent);
        rest.remove_prefix(static_cast<size_t>(sent));
    }
    std::string answer;
    while (answer.find('\n') == std::string::npos) {
        char buffer[4096];
        ssize_t got = recv(socket.get(), buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return exchange_error(path, got);
        answer.append(buffer, static_cast<size_t>(got));
    }
    Json content = Json::parse(answer.substr(0, answer.find('\n')), nullptr, false);
    if (!content.is_object())
        return error("what listens at {} doesn't speak Lockstep's control protocol", path);
    return content;
}

Result<Json> control_request(const std::string& path, const Json& request, uint64_t timeout_ns) {
    Json content = TRY(control_exchange(path, request, timeout_ns));
    if (content.contains("error") && content["error"].is_string())
        return Error(content["error"].get<std::string>());
    return content;
}

}  // namespace lockstep::host
