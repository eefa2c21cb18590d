// A model server under random bytes: what it may do is answer 2xx, 4xx or 503, or close. A failure
// prints its seed and case, and the bytes are in a file.

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <thread>

#include <arpa/inet.h>
#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz/mutator.h"
#include "fuzz/victim.h"

namespace musher::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostGrowth = std::size_t{512} << 20;  // of memory, in bytes
constexpr auto kPatience = std::chrono::seconds(60);

struct Options {
  std::uint64_t seed = 1;
  std::uint64_t cases = 0;  ///< 0: until `seconds` are over
  double seconds = 60;
  std::optional<std::uint64_t> only;  ///< this case alone
};

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

std::size_t peak_memory() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) << 10;
}

/// A connection that sends in pieces and ends in one of the ways there are.
class Caller {
 public:
  explicit Caller(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      fail("the server takes no connection");
  }
  ~Caller() {
    if (fd_ >= 0) close(fd_);
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  void send(std::string_view text, std::size_t piece) {
    while (!text.empty()) {
      const auto sent = ::send(fd_, text.data(), std::min(piece, text.size()), MSG_NOSIGNAL);
      if (sent <= 0) return;  // it has had enough
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  void reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd_);
    fd_ = -1;
  }
  /// All that comes until the server closes.
  std::string read_to_end() {
    shutdown(fd_, SHUT_WR);
    std::string text;
    char buffer[16 << 10];
    while (true) {
      pollfd wait = {fd_, POLLIN, 0};
      if (poll(&wait, 1, 30'000) <= 0) fail("the server neither answers nor closes");
      const auto got = recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) return text;
      text.append(buffer, static_cast<std::size_t>(got));
    }
  }

 private:
  int fd_;
};

/// 1xx, 2xx, 4xx and 503 are answers; 500 is a bug, also of a later request of the connection.
/// Returns the first one's status line; closed without a word is good too: no request had begun.
std::string check_answers(const std::string& text) {
  if (text.empty()) return "closed";
  const std::string status = text.substr(0, 12);
  const bool good = status.starts_with("HTTP/1.1 1") || status.starts_with("HTTP/1.1 2") ||
                    status.starts_with("HTTP/1.1 4") || status == "HTTP/1.1 503";
  const std::size_t bug = good ? text.find("HTTP/1.1 500 ") : 0;
  if (bug != text.npos) fail("it was answered: " + text.substr(bug, 400));
  return status.substr(9);
}

class Fuzzer {
 public:
  explicit Fuzzer(Options options) : options_(options) { check_alive(); }

  /// Returns how many cases there were.
  std::uint64_t run() {
    const auto end = Clock::now() + std::chrono::duration<double>(options_.seconds);
    for (std::uint64_t number = options_.only.value_or(0);; ++number) {
      if (options_.only        ? number > *options_.only
          : options_.cases > 0 ? number >= options_.cases
                               : Clock::now() >= end)
        return number;
      try {
        one(number);
        if (number % 100 == 99) check_alive();
      } catch (const std::exception& error) {
        report(number);
        fail(fmt::format("case {} of seed {}: {}", number, options_.seed, error.what()));
      }
    }
  }

  /// Everything that was sent has been let go of.
  void check_nothing_left() {
    for (const auto end = Clock::now() + kPatience; Clock::now() < end;) {
      if (victim_.connections() == 0 && victim_.under_way() == 0) return;
      std::this_thread::yield();
    }
    fail(fmt::format("{} connections and {} requests are left", victim_.connections(),
                     victim_.under_way()));
  }

  /// How often there was which answer: a fuzzer that meets nothing but 400 tests little.
  const std::map<std::string, std::uint64_t>& answers() const { return answers_; }

 private:
  void one(std::uint64_t number) {
    Random random{options_.seed, number};
    const auto pick = [&](const std::vector<std::string>& from) -> const std::string& {
      return from[below(random, from.size())];
    };
    const std::string& body = pick(bodies_);
    sent_ = body_mutator_.mutate(body, pick(bodies_), random);
    parse_as_everything(sent_);
    const std::string& request = pick(requests_);
    sent_ = request_mutator_.mutate(request, pick(requests_), random);
    Caller caller(victim_.port());
    caller.send(sent_, below(random, 4) == 0 ? 1 + below(random, 64) : sent_.size());
    if (below(random, 8) == 0) return caller.reset();
    ++answers_[check_answers(caller.read_to_end())];
  }

  void check_alive() {
    Caller caller(victim_.port());
    caller.send("GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1000);
    if (!caller.read_to_end().starts_with("HTTP/1.1 200 ")) fail("/ping does not say 200");
    if (memory_ == 0) memory_ = peak_memory();
    if (const std::size_t grown = peak_memory() - memory_; grown > kMostGrowth)
      fail(fmt::format("memory has grown by {} MiB", grown >> 20));
  }

  void report(std::uint64_t number) {
    const std::string name = fmt::format("serving_fuzz-{}-{}.bin", options_.seed, number);
    std::ofstream(name, std::ios::binary) << sent_;
    std::cerr << "the bytes are in " << name << "; again: serving_fuzz --seed " << options_.seed
              << " --only " << number << std::endl;
  }

  const Options options_;
  Victim victim_;
  std::size_t memory_ = 0;
  std::string sent_;
  std::map<std::string, std::uint64_t> answers_;
  const std::vector<std::string> requests_ = good_requests();
  const std::vector<std::string> bodies_ = good_bodies();
  const Mutator request_mutator_{{"\r\n",
                                  "\r\n\r\n",
                                  "\n",
                                  "\r",
                                  ":",
                                  " ",
                                  "\t",
                                  std::string("\0", 1),
                                  "\xff",
                                  "HTTP/1.1",
                                  "HTTP/1.0",
                                  "HTTP/2.0",
                                  "Content-Length: ",
                                  "Content-Length: 5\r\n",
                                  "Transfer-Encoding: chunked\r\n",
                                  "Transfer-Encoding: gzip, chunked\r\n",
                                  "Transfer-Encoding: identity\r\n",
                                  "Expect: 100-continue\r\n",
                                  "Connection: close\r\n",
                                  "Connection: keep-alive\r\n",
                                  "0\r\n\r\n",
                                  "ffffffffffffffff\r\n",
                                  ";a=\"b\r\n",
                                  "GET ",
                                  "POST ",
                                  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                  "%00",
                                  "/../",
                                  "http://a:1/",
                                  "Content-Type: application/x-npy\r\n",
                                  "Accept: ;q=nan,*/*;q=1e999\r\n"}};
  const Mutator body_mutator_{{"{",
                               "}",
                               "[",
                               "[[[[[[[[[[[[",
                               "]",
                               "\"",
                               "\\u0000",
                               "\\ud800",
                               "null",
                               "NaN",
                               "1e400",
                               "\"url\"",
                               "\"instances\"",
                               "'descr': '<f8'",
                               "'fortran_order': True",
                               "(,)",
                               "(9,9,9,9,9,9,9,9,9,9)",
                               "\x93NUMPY",
                               "\xff\xd8",
                               "\xff\xd9",
                               "\xff\xda",
                               "\xff\xc0",
                               "\xff\xc2",
                               "\xff\xe1",
                               "Exif",
                               "IHDR",
                               "IDAT",
                               "IEND",
                               "RIFF",
                               "WEBPVP8 ",
                               "image/*;q=",
                               ","}};
};

std::optional<Options> parse(int argc, char** argv) {
  namespace po = boost::program_options;
  Options options;
  std::uint64_t only = 0;
  po::options_description description("serving_fuzz: a model server under random bytes");
  auto add = description.add_options();
  add("help,h", "print this and end");
  add("seed", po::value(&options.seed), "of the random numbers (1)");
  add("seconds", po::value(&options.seconds), "how long (60)");
  add("cases", po::value(&options.cases), "how many, instead of --seconds");
  add("only", po::value(&only), "one case, by its number");
  po::variables_map map;
  po::store(po::parse_command_line(argc, argv, description), map);
  po::notify(map);
  if (map.count("only") != 0) options.only = only;
  if (map.count("help") == 0) return options;
  std::cout << description;
  return std::nullopt;
}

}  // namespace
}  // namespace musher::test

int main(int argc, char** argv) {
  try {
    const auto options = musher::test::parse(argc, argv);
    if (!options) return 0;
    musher::test::Fuzzer fuzzer(*options);
    const std::uint64_t cases = fuzzer.run();
    fuzzer.check_nothing_left();
    std::cout << cases << " cases, seed " << options->seed
              << ": the server stays up; first answers:";
    for (const auto& [status, count] : fuzzer.answers())
      std::cout << ' ' << status << " x " << count;
    std::cout << std::endl;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "serving_fuzz: " << error.what() << std::endl;
    return 1;
  }
}
