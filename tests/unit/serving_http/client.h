#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace musher::test {

/// A TCP connection to a server on this machine, byte by byte, for what no HTTP client would send.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { close_now(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }

  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the server has had enough
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  void half_close() { shutdown(fd_, SHUT_WR); }
  void close_now() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close_now();
  }

  /// Until the server closes, or half a minute passes, which fails the test.
  std::string read_to_end() {
    while (read_some()) continue;
    return std::exchange(text_, {});
  }
  /// One answer with a Content-Length, header and body.
  std::string read_answer() {
    while (true) {
      const std::size_t end = text_.find("\r\n\r\n");
      if (end != text_.npos) {
        const std::size_t at = text_.find("Content-Length: ");
        const std::size_t length = at < end ? std::stoul(text_.substr(at + 16)) : 0;
        if (text_.size() >= end + 4 + length) {
          const std::string answer = text_.substr(0, end + 4 + length);
          text_.erase(0, answer.size());
          return answer;
        }
      }
      if (!read_some()) return std::exchange(text_, {});
    }
  }

 private:
  bool read_some() {
    pollfd wait = {fd_, POLLIN, 0};
    if (poll(&wait, 1, 30'000) <= 0) {
      ADD_FAILURE() << "the server says nothing";
      return false;
    }
    char buffer[16 << 10];
    const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    text_.append(buffer, static_cast<std::size_t>(got));
    return true;
  }

  int fd_;
  bool connected_ = false;
  std::string text_;
};

/// The three digits.
inline std::string status_of(const std::string& answer) {
  return answer.size() < 12 ? answer : answer.substr(9, 3);
}

}  // namespace musher::test
