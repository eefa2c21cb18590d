#include <filesystem>
#include <fstream>
#include <future>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "rpc/certificates.h"
#include "serving/http/server.h"
#include "support/expect_error.h"
#include "unit/serving_http/client.h"

namespace musher {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using std::chrono::milliseconds;
using test::RawClient;
using test::status_of;
using testing::HasSubstr;

constexpr auto kLong = std::chrono::seconds(30);
constexpr const char* kGet = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

/// A client that trusts one authority and wants a name.
class TlsClient {
 public:
  TlsClient(std::uint16_t port, const std::string& authority, const std::string& name,
            int version = TLS1_3_VERSION)
      : stream_(io_, context_) {
    context_.add_certificate_authority(asio::buffer(authority));
    SSL_set_max_proto_version(stream_.native_handle(), version);
    stream_.set_verify_mode(asio::ssl::verify_peer);
    stream_.set_verify_callback(asio::ssl::host_name_verification(name));
    stream_.next_layer().connect({asio::ip::address_v4::loopback(), port});
    stream_.handshake(asio::ssl::stream_base::client, error_);
  }
  bool connected() const { return !error_; }
  void send(const std::string& text) { asio::write(stream_, asio::buffer(text), error_); }
  /// What comes until there is `end` in it, or the stream's end.
  std::string read_until(const std::string& end) {
    while (text_.find(end) == text_.npos && !error_) {
      char piece[4096];
      const std::size_t got = stream_.read_some(asio::buffer(piece), error_);
      text_.append(piece, got);
    }
    return std::exchange(text_, {});
  }
  std::string read_to_end() { return read_until(std::string(1, '\0')); }
  /// How the stream ended: asio::error::eof where the server said so by TLS.
  boost::system::error_code error() const { return error_; }
  void close() { stream_.next_layer().close(); }

 private:
  asio::io_context io_;
  asio::ssl::context context_{asio::ssl::context::tls_client};
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
  boost::system::error_code error_;
  std::string text_;
};

class HttpTlsTest : public testing::Test {
 public:
  HttpTlsTest() {
    fs::create_directories(folder_);
    install(issue_server(authority_, Validity::days(1), {"127.0.0.1", "one.example"}));
  }
  ~HttpTlsTest() override { fs::remove_all(folder_); }

  void install(const Identity& identity) {
    std::ofstream(folder_ / "certificate.pem") << identity.certificate;
    std::ofstream(folder_ / "key.pem") << identity.key;
    fs::permissions(folder_ / "key.pem", fs::perms::owner_read | fs::perms::owner_write);
  }
  HttpServerOptions with_tls(HttpServerOptions options = {}) {
    options.tls = TlsOptions{.certificate = folder_ / "certificate.pem",
                             .key = folder_ / "key.pem",
                             .look_every = milliseconds(0),
                             .notice = [this](const std::string& text) { notices_ += text; }};
    return options;
  }
  /// Answers with the request's body; what goes to /held is never answered, but tells when its
  /// client is gone.
  void serve(const HttpServerOptions& options) {
    server_.emplace(options,
                    [this](const HttpRequest& request, const std::shared_ptr<Exchange>& e) {
                      if (request.path() == "/held") {
                        held_ = e;
                        e->on_cancel([this] { gone_.set_value(); });
                        return arrived_.set_value();
                      }
                      e->answer({.status = 200,
                                 .content_type = "text/plain",
                                 .body = request.method + " " + request.body + ";",
                                 .headers = {}});
                    });
  }
  TlsClient client(const std::string& name = "one.example") {
    return {server_->port(), authority_.certificate, name};
  }

  const Identity authority_ = make_authority(Validity::days(2));
  const fs::path folder_ =
      fs::path(testing::TempDir()) / ("http-tls-" + std::to_string(::getpid()));
  std::string notices_;
  std::shared_ptr<Exchange> held_;
  std::promise<void> arrived_, gone_;
  std::optional<HttpServer> server_;
};

TEST_F(HttpTlsTest, AnswersOneAfterAnotherHoweverLargeAndSaysWhenItEnds) {
  serve(with_tls());
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client(server_->port(), authority_.certificate, "127.0.0.1", version);
    ASSERT_TRUE(client.connected()) << client.error().message();
    client.send(kGet);
    EXPECT_THAT(client.read_until(";"), HasSubstr("\r\n\r\nGET ;"));
    const std::string body(3'000'000, 'b');
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + body + kGet);
    EXPECT_THAT(client.read_until(";"), HasSubstr("\r\n\r\nPOST " + body));
    EXPECT_THAT(client.read_until(";"), HasSubstr("\r\n\r\nGET ;"));
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(status_of(client.read_to_end()), "200");
    EXPECT_EQ(client.error(), asio::error::eof);  // close_notify, and no mere end of TCP's stream
  }
}

TEST_F(HttpTlsTest, AnotherNameAnotherAuthorityOrAnOldProtocolIsNoConnection) {
  serve(with_tls());
  EXPECT_FALSE(client("two.example").connected());
  const Identity other = make_authority(Validity::days(2));
  EXPECT_FALSE(TlsClient(server_->port(), other.certificate, "one.example").connected());
  EXPECT_FALSE(TlsClient(server_->port(), authority_.certificate, "one.example", TLS1_1_VERSION)
                   .connected());
}

TEST_F(HttpTlsTest, WhatIsNotTlsOrNeverEndsItsHandshakeIsClosed) {
  HttpServerOptions options;
  options.request_timeout = milliseconds(50);
  serve(with_tls(options));
  RawClient plain(server_->port());
  plain.send(kGet);
  EXPECT_THAT(plain.read_to_end(), testing::Not(HasSubstr("HTTP")));
  RawClient silent(server_->port());
  EXPECT_EQ(silent.read_to_end(), "");
}

TEST_F(HttpTlsTest, RefusesAndGivesUpAsWithoutTls) {
  HttpServerOptions options;
  options.body_limit = 1000;
  options.request_timeout = milliseconds(200);
  serve(with_tls(options));
  TlsClient large = client();
  large.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" +
             std::string(200'000, 'x'));
  EXPECT_EQ(status_of(large.read_to_end()), "413");
  TlsClient slow = client();
  slow.send("GET / HT");
  EXPECT_EQ(status_of(slow.read_to_end()), "408");
  TlsClient leaving = client();
  leaving.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_EQ(arrived_.get_future().wait_for(kLong), std::future_status::ready);
  leaving.close();
  EXPECT_EQ(gone_.get_future().wait_for(kLong), std::future_status::ready);
}

TEST_F(HttpTlsTest, DrainingClosesTheIdle) {
  serve(with_tls());
  TlsClient idle = client();
  idle.send(kGet);
  EXPECT_EQ(status_of(idle.read_until(";")), "200");
  EXPECT_TRUE(server_->drain(Deadline::after(kLong)));
  EXPECT_EQ(idle.read_to_end(), "");
}

TEST_F(HttpTlsTest, ACertificateIsRenewedWhileItRunsAndADamagedOneIsNot) {
  serve(with_tls());
  EXPECT_TRUE(client("one.example").connected());
  install(issue_server(authority_, Validity::days(1), {"two.example"}));
  EXPECT_TRUE(client("two.example").connected());
  std::ofstream(folder_ / "certificate.pem") << "damaged";
  EXPECT_TRUE(client("two.example").connected());
  EXPECT_THAT(notices_, HasSubstr("certificate.pem can't be used"));
}

TEST_F(HttpTlsTest, WhatCantBeUsedIsNamed) {
  const auto refused = [&](ErrorCode code, const char* part) {
    test::expect_error(code, {part}, [&] { serve(with_tls()); });
  };
  fs::permissions(folder_ / "key.pem", fs::perms::group_read, fs::perm_options::add);
  refused(ErrorCode::kFailedPrecondition, "key.pem");
  install(issue_server(authority_, Validity::days(1), {}));
  std::ofstream(folder_ / "key.pem") << issue_server(authority_, Validity::days(1), {}).key;
  refused(ErrorCode::kInvalidArgument, "key.pem");
  fs::remove(folder_ / "key.pem");
  refused(ErrorCode::kInvalidArgument, "key.pem");
  fs::remove(folder_ / "certificate.pem");
  refused(ErrorCode::kInvalidArgument, "certificate.pem");
}

}  // namespace
}  // namespace musher
