#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "serving/http/server.h"
#include "serving/http/stream.h"

namespace musher {

/// What the connections of a server share, which they do not outlive.
struct HttpServerShared {
  HttpServerOptions options;
  HttpHandler handler;
  std::atomic<bool> draining = false;
  std::atomic<std::uint64_t> buffered = 0;  ///< bytes of bodies, of buffer_limit
  std::atomic<std::uint64_t> requests = 0;
  std::uint64_t id_seed = 0;
  std::function<void(const class HttpConnection*)> ended;  ///< once, when it is closed
};

/// One connection: waits for a request, reads it, has it handled, writes the answer, and again.
/// Everything but the public calls runs on its socket's executor, one at a time. The server keeps
/// it until it is closed.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  /// `tls`: null for none.
  HttpConnection(HttpStream::Socket socket, HttpStream::Context tls, HttpServerShared& shared);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void start();
  void drain();  ///< closes it where it waits for a request

 private:
  enum class State { kHandshaking, kIdle, kReading, kHandling, kWriting, kLingering, kClosed };
  using Parser =
      boost::beast::http::request_parser<boost::beast::http::string_body, std::allocator<char>>;
  using Response = boost::beast::http::response<boost::beast::http::string_body>;
  using ErrorCode = boost::system::error_code;
  using Time = std::chrono::steady_clock::time_point;

  template <typename Member>
  auto then(Member member);  ///< a completion handler that keeps this alive

  void begin();
  void on_handshake(ErrorCode error);
  bool has_request();
  void watch();
  void on_watched(ErrorCode error, std::size_t bytes);
  void wait_for_request();
  void read_header();
  ErrorCode parse();
  void on_header(ErrorCode error, std::size_t);
  void read_body(ErrorCode error, std::size_t);
  void on_request(ErrorCode error, std::size_t);
  void on_read_error(ErrorCode error);
  HttpRequest take_request();
  void name_request();
  void handle();
  void client_gone();
  void respond(HttpResponse response, std::uint64_t request);
  void refuse(int status, const char* code, const std::string& message);
  void write(HttpResponse response);
  void on_written(ErrorCode error, std::size_t);
  void linger();
  void on_farewell(ErrorCode error);
  void on_lingered(ErrorCode error, std::size_t bytes);
  void close();

  void arm(std::chrono::milliseconds timeout);
  void set_timer();
  void on_timer(ErrorCode error);
  bool reserve(std::uint64_t bytes);
  void release();

  HttpStream stream_;
  HttpServerShared& shared_;
  boost::asio::steady_timer timer_;
  Time deadline_ = Time::max();   ///< of what the connection is at
  Time timer_due_ = Time::max();  ///< when timer_ next looks at that; max: it is not set
  boost::beast::flat_buffer buffer_;
  bool watching_ = false;  ///< watch() has a read under way into buffer_, which is empty till then
  std::optional<Parser> parser_;
  std::optional<Response> response_;
  std::weak_ptr<Exchange> exchange_;
  State state_ = State::kIdle;
  bool timed_out_ = false;
  bool keep_alive_ = false;
  bool head_ = false;
  std::uint64_t request_ = 0;   ///< counts: an answer to another is late
  std::uint64_t reserved_ = 0;  ///< of the shared buffer limit
  std::uint64_t lingered_ = 0;  ///< bytes thrown away
  AccessRecord record_;
  std::string peer_;  ///< IP:PORT
  Time began_;
};

}  // namespace musher
