#include "serving/http/connection.h"

#include <algorithm>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/write.hpp>
#include <fmt/format.h>

#include "common/random.h"

namespace musher {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr std::chrono::milliseconds kLinger{2'000};
constexpr std::uint64_t kLingerBytes = 64 << 20;
/// Bytes to begin with: a whole small request, and thousands of idle connections cost little.
constexpr std::size_t kFirstRead = 2 << 10;

/// What a caller may give as an id: it goes to logs and headers as it is.
bool is_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
}

/// In the form of a UUID, as AWS's.
std::string new_request_id(std::uint64_t seed, std::uint64_t count) {
  Random random{seed, count};
  const std::uint64_t high = random.next();
  const std::uint64_t low = random.next();
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xfff, 8 + (low >> 62), (low >> 48) & 0xfff, low & 0xffff'ffff'ffff);
}

std::string text(boost::beast::string_view view) {
  return {view.data(), view.size()};
}

}  // namespace

template <typename Member>
auto HttpConnection::then(Member member) {
  return [self = shared_from_this(), member](auto... results) { ((*self).*member)(results...); };
}

HttpConnection::HttpConnection(HttpStream::Socket socket, HttpStream::Context tls,
                               HttpServerShared& shared)
    : stream_(std::move(socket), std::move(tls)), shared_(shared), timer_(stream_.get_executor()) {
  ErrorCode ignored;
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  const auto peer = stream_.socket().remote_endpoint(ignored);
  if (!ignored) peer_ = fmt::format("{}:{}", peer.address().to_string(), peer.port());
}

HttpConnection::~HttpConnection() {
  release();
}

void HttpConnection::start() {
  asio::dispatch(stream_.get_executor(), then(&HttpConnection::begin));
}

void HttpConnection::begin() {
  if (!stream_.has_tls()) return wait_for_request();
  state_ = State::kHandshaking;
  arm(shared_.options.request_timeout);
  stream_.async_handshake(then(&HttpConnection::on_handshake));
}

void HttpConnection::on_handshake(ErrorCode error) {
  if (error || state_ != State::kHandshaking) return close();
  wait_for_request();
}

void HttpConnection::drain() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    const bool idle = self->state_ == State::kIdle && !self->has_request();
    if (idle || self->state_ == State::kHandshaking) self->close();
  });
}

/// Whether bytes of one are there: it was sent before draining began, and has its answer.
bool HttpConnection::has_request() {
  ErrorCode ignored;
  return buffer_.size() > 0 || stream_.socket().available(ignored) > 0;
}

// --- reading ----------------------------------------------------------------------------------

/// Reads what comes next, whatever the connection is at: one read serves while a request is
/// handled, where it tells that the client has gone, and the pause after it.
void HttpConnection::watch() {
  if (watching_ || buffer_.size() > 0) return;  // the next request is there, and waits its turn
  if (buffer_.capacity() > kFirstRead) buffer_ = {};  // of a large request
  watching_ = true;
  stream_.async_read_some(buffer_.prepare(kFirstRead), then(&HttpConnection::on_watched));
}

void HttpConnection::on_watched(ErrorCode error, std::size_t bytes) {
  watching_ = false;
  if (state_ == State::kLingering) {
    if (stream_.has_tls() && !error) return;  // on_farewell() comes
    return on_lingered(error, bytes);
  }
  buffer_.commit(bytes);
  if (state_ == State::kIdle) return error ? close() : read_header();
  if (error) client_gone();
}

void HttpConnection::wait_for_request() {
  parser_.reset();
  response_.reset();
  record_ = {};
  timed_out_ = false;
  state_ = State::kIdle;
  if (shared_.draining && !has_request()) return close();
  if (buffer_.size() > 0) return read_header();
  arm(shared_.options.idle_timeout);
  watch();
}

/// REQUIRES: some of it is in the buffer; mostly all of it.
void HttpConnection::read_header() {
  state_ = State::kReading;
  began_ = std::chrono::steady_clock::now();
  parser_.emplace();
  parser_->header_limit(shared_.options.header_limit);
  parser_->body_limit(shared_.options.body_limit);
  arm(shared_.options.request_timeout);
  const ErrorCode error = parse();
  if (error != http::error::need_more) return on_header(error, 0);
  http::async_read_header(stream_, buffer_, *parser_, then(&HttpConnection::on_header));
}

/// What is in the buffer, without a turn of the event loop.
HttpConnection::ErrorCode HttpConnection::parse() {
  ErrorCode error;
  buffer_.consume(parser_->put(buffer_.data(), error));
  return error;
}

void HttpConnection::on_header(ErrorCode error, std::size_t) {
  if (error || state_ != State::kReading) return on_read_error(error);
  const auto length = parser_->content_length();
  if (!reserve(length ? *length : parser_->chunked() ? shared_.options.body_limit : 0)) {
    return refuse(503, "ServiceUnavailable", "too many requests are being read");
  }
  const auto expect = parser_->get()[http::field::expect];
  if (boost::beast::iequals(expect, "100-continue")) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    return asio::async_write(stream_, asio::buffer(kContinue), then(&HttpConnection::read_body));
  }
  read_body({}, 0);
}

void HttpConnection::read_body(ErrorCode error, std::size_t) {
  if (error || state_ != State::kReading) return close();
  parser_->eager(true);
  ErrorCode wrong;
  if (!parser_->is_done() && buffer_.size() > 0) wrong = parse();
  if (wrong == http::error::need_more) wrong = {};
  if (wrong || parser_->is_done()) return on_request(wrong, 0);
  http::async_read(stream_, buffer_, *parser_, then(&HttpConnection::on_request));
}

void HttpConnection::on_request(ErrorCode error, std::size_t) {
  if (error || state_ != State::kReading) return on_read_error(error);
  deadline_ = Time::max();  // whoever handles it has limits of its own
  handle();
}

void HttpConnection::on_read_error(ErrorCode error) {
  if (state_ != State::kReading) return close();
  if (timed_out_) return refuse(408, "RequestTimeout", "the request did not come whole in time");
  if (error == http::error::end_of_stream) return close();
  if (error == http::error::body_limit) {
    return refuse(413, "RequestEntityTooLarge",
                  fmt::format("the body is larger than {} bytes", shared_.options.body_limit));
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return refuse(431, "RequestHeaderFieldsTooLarge",
                  fmt::format("the header is larger than {} bytes", shared_.options.header_limit));
  }
  if (error == http::error::partial_message) {
    return refuse(400, "BadRequest", "the connection ended within the request");
  }
  if (error.category() == http::make_error_code(http::error::bad_method).category()) {
    return refuse(400, "BadRequest", "the request is not HTTP/1.1: " + error.message());
  }
  close();
}

// --- handling ---------------------------------------------------------------------------------

/// What the request is called in log and answer, as far as its header came: also of one that is
/// refused.
void HttpConnection::name_request() {
  record_.peer = peer_;
  std::string_view given;
  if (parser_) {
    const auto& message = parser_->get();
    record_.method = text(message.method_string());
    record_.target = text(message.target());
    const auto id = message["x-amzn-requestid"];
    given = {id.data(), id.size()};
  }
  record_.id = is_request_id(given) ? std::string(given)
                                    : new_request_id(shared_.id_seed, ++shared_.requests);
}

HttpRequest HttpConnection::take_request() {
  name_request();
  auto message = parser_->release();
  parser_.reset();
  HttpRequest request;
  request.method = record_.method;
  request.target = record_.target;
  request.id = record_.id;
  for (const auto& field : message) {
    request.headers.emplace_back(text(field.name_string()), text(field.value()));
  }
  request.body = std::move(message.body());
  keep_alive_ = message.keep_alive();
  head_ = message.method() == http::verb::head;
  return request;
}

void HttpConnection::handle() {
  HttpRequest request = take_request();
  state_ = State::kHandling;
  const std::uint64_t number = ++request_;
  auto exchange =
      std::make_shared<Exchange>([weak = weak_from_this(), number](HttpResponse response) {
        const auto self = weak.lock();
        if (!self) return;
        asio::post(self->stream_.get_executor(),
                   [self, number, response = std::move(response)]() mutable {
                     self->respond(std::move(response), number);
                   });
      });
  exchange_ = exchange;
  watch();
  try {
    shared_.handler(std::move(request), exchange);
  } catch (const std::exception& error) {
    exchange->answer(http_error(500, "InternalFailure", error.what()));
  }
}

/// The end of the client's stream: it has gone, or sends nothing more but still reads. Which of the
/// two can't be told, so a request that is being handled is given up as if it had gone, and
/// answered all the same.
void HttpConnection::client_gone() {
  keep_alive_ = false;
  if (state_ != State::kHandling) return;
  if (const auto exchange = exchange_.lock()) exchange->cancel();
}

// --- answering --------------------------------------------------------------------------------

void HttpConnection::respond(HttpResponse response, std::uint64_t request) {
  if (state_ != State::kHandling || request != request_) return;
  write(std::move(response));
}

void HttpConnection::refuse(int status, const char* code, const std::string& message) {
  keep_alive_ = false;
  head_ = false;
  name_request();
  write(http_error(status, code, message));
}

void HttpConnection::write(HttpResponse response) {
  state_ = State::kWriting;
  if (shared_.draining) keep_alive_ = false;
  record_.status = response.status;
  record_.bytes = response.body.size();
  record_.upstream_status = response.upstream_status;
  record_.upstream_time = response.upstream_time;
  response_.emplace(static_cast<http::status>(response.status), 11);
  for (const auto& [name, value] : response.headers) response_->insert(name, value);
  if (!response.content_type.empty())
    response_->set(http::field::content_type, response.content_type);
  if (!record_.id.empty()) response_->set("x-amzn-RequestId", record_.id);
  response_->keep_alive(keep_alive_);
  // An answer that has no content by its status has no length either (RFC 9110, 8.6).
  if (response.status != 204) response_->content_length(response.body.size());
  if (!head_) response_->body() = std::move(response.body);
  arm(shared_.options.write_timeout);
  http::async_write(stream_, *response_, then(&HttpConnection::on_written));
}

void HttpConnection::on_written(ErrorCode error, std::size_t) {
  release();
  if (shared_.options.access_log) {
    record_.duration = std::chrono::steady_clock::now() - began_;
    shared_.options.access_log(record_);
  }
  if (error || state_ != State::kWriting) return close();
  if (keep_alive_) return wait_for_request();
  linger();
}

/// A socket that is closed with bytes of the client unread resets the connection, and the client
/// may never see the answer: they are read and thrown away for a while.
void HttpConnection::linger() {
  state_ = State::kLingering;
  arm(kLinger);
  if (stream_.has_tls()) return stream_.async_shutdown(then(&HttpConnection::on_farewell));
  on_farewell({});
}

/// TLS has said that nothing more comes, where there is TLS, and the client may have sent more all
/// the same: then the shutdown ends in an error, and that is what is thrown away.
void HttpConnection::on_farewell(ErrorCode error) {
  if (state_ != State::kLingering) return;
  const bool reading = watching_;
  if (stream_.has_tls() && (!error || reading)) return close();
  ErrorCode failed;
  stream_.socket().shutdown(HttpStream::Socket::shutdown_send, failed);
  if (failed) return close();
  if (reading) return;  // it goes on as this
  buffer_ = {};
  stream_.socket().async_read_some(buffer_.prepare(16 << 10), then(&HttpConnection::on_lingered));
}

void HttpConnection::on_lingered(ErrorCode error, std::size_t bytes) {
  lingered_ += bytes;
  if (error || lingered_ > kLingerBytes) return close();
  stream_.socket().async_read_some(buffer_.prepare(16 << 10), then(&HttpConnection::on_lingered));
}

void HttpConnection::close() {
  const State before = std::exchange(state_, State::kClosed);
  if (before == State::kClosed) return;
  if (before == State::kHandling) {
    if (const auto exchange = exchange_.lock()) exchange->cancel();
  }
  release();
  timer_.cancel();
  ErrorCode ignored;
  stream_.socket().close(ignored);
  shared_.ended(this);
}

// --- limits -----------------------------------------------------------------------------------

/// Until when what begins now may take. Each request sets some, and hardly one is ever reached: the
/// timer itself is set anew only where it would come too late, and looks again when it comes too
/// early.
void HttpConnection::arm(std::chrono::milliseconds timeout) {
  deadline_ = std::chrono::steady_clock::now() + timeout;
  if (deadline_ < timer_due_) set_timer();
}

void HttpConnection::set_timer() {
  timer_due_ = deadline_;
  timer_.expires_at(deadline_);  // which ends the wait before
  timer_.async_wait([self = shared_from_this()](ErrorCode error) { self->on_timer(error); });
}

void HttpConnection::on_timer(ErrorCode error) {
  if (error || state_ == State::kClosed) return;
  timer_due_ = Time::max();
  if (deadline_ == Time::max()) return;
  if (std::chrono::steady_clock::now() < deadline_) return set_timer();
  if (state_ != State::kReading) return close();
  timed_out_ = true;  // on_read_error() answers
  ErrorCode ignored;
  stream_.socket().cancel(ignored);
}

bool HttpConnection::reserve(std::uint64_t bytes) {
  if (shared_.buffered.fetch_add(bytes) + bytes > shared_.options.buffer_limit) {
    shared_.buffered -= bytes;
    return false;
  }
  reserved_ = bytes;
  return true;
}

void HttpConnection::release() {
  shared_.buffered -= std::exchange(reserved_, 0);
}

}  // namespace musher
