#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <boost/program_options.hpp>

#include "common/error.h"
#include "job/job.h"

namespace musher::cli {

namespace po = boost::program_options;

/// What `musher` ends with.
enum ExitCode { kOk = 0, kFailed = 1, kUsage = 2, kStopped = 3, kUnreachable = 4 };

/// One word after `musher`: a file each.
struct Command {
  const char* name;
  const char* arguments;  ///< as --help shows them, e.g. "JOB"
  const char* help;       ///< one line
  int (*run)(const Command& command, const std::vector<std::string>& words);
};

extern const Command kCerts;
extern const Command kAccess;
extern const Command kEndpoint;
extern const Command kFunction;
extern const Command kFleet;
extern const Command kHosts;
extern const Command kTrain;
extern const Command kServe;
extern const Command kSlurm;
extern const Command kSubmit;
extern const Command kList;
extern const Command kStatus;
extern const Command kWatch;
extern const Command kLogs;
extern const Command kMetrics;
extern const Command kReport;
extern const Command kQueue;
extern const Command kResize;
extern const Command kStop;
extern const Command kDelete;
extern const Command kValidate;

/// Where `musher serve` listens.
struct CoordinatorAddress {
  std::string host_and_port;
  std::string tls;  ///< the client's TLS folder; empty: without TLS
};

/// The options of one command. A positional argument is an option too, hidden from the list.
class Options {
 public:
  explicit Options(const Command& command) : command_(command) { add("help,h", "print this"); }

  template <typename T>
  void add(const char* name, T* value, const char* placeholder, const char* help) {
    auto* semantic = po::value(value)->value_name(placeholder);
    shown_.add_options()(name, semantic, help);
  }
  template <typename T>
  void add(const char* name, std::optional<T>* value, const char* placeholder, const char* help) {
    auto* semantic = po::value<T>()->value_name(placeholder);
    semantic->notifier([value](const T& given) { *value = given; });
    shown_.add_options()(name, semantic, help);
  }
  void add(const char* name, bool* value, const char* help) {
    shown_.add_options()(name, po::bool_switch(value), help);
  }
  /// `--coordinator` and `--tls`, for commands that talk to a daemon.
  void add_coordinator(CoordinatorAddress* address);
  void positional(const char* name, std::string* value);
  void optional_positional(const char* name, std::string* value);

  /// False where help was asked for, and printed. Throws kInvalidArgument.
  bool parse(const std::vector<std::string>& words);
  /// The same options from a file, a line each: `name = value`. Throws kNotFound, kInvalidArgument.
  void parse_file(const std::string& path);

 private:
  void add(const char* name, const char* help) { shown_.add_options()(name, help); }

  const Command& command_;
  po::options_description shown_{"Options"};
  po::options_description hidden_;
  po::positional_options_description positions_;
  std::vector<std::string> required_;
};

/// What a job asks for that changes nothing, a line each on stderr.
void print_notices(const std::vector<JobError>& notices);

/// `error` on stderr; the exit code that goes with it.
int report(const Error& error);

}  // namespace musher::cli
