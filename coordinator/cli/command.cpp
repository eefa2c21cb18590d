#include "coordinator/cli/command.h"

#include <fstream>
#include <iostream>

namespace musher::cli {

void Options::add_coordinator(CoordinatorAddress* address) {
  auto* where = po::value(&address->host_and_port);
  where->value_name("HOST:PORT")->default_value("127.0.0.1:7077");
  shown_.add_options()("coordinator", where, "where `musher serve` listens");
  add("tls", &address->tls, "DIR",
      "the folder of your certificate, `client` of those that `musher certs` makes; not needed on "
      "the coordinator's own machine where that listens on loopback");
}

void Options::positional(const char* name, std::string* value) {
  required_.emplace_back(name);
  optional_positional(name, value);
}

void Options::optional_positional(const char* name, std::string* value) {
  hidden_.add_options()(name, po::value(value));
  positions_.add(name, 1);
}

bool Options::parse(const std::vector<std::string>& words) {
  po::options_description all;
  all.add(shown_).add(hidden_);
  po::variables_map values;
  const std::string usage = std::string("; see musher ") + command_.name + " --help";
  try {
    po::store(po::command_line_parser(words).options(all).positional(positions_).run(), values);
    if (values.contains("help")) {
      std::cout << "musher " << command_.name << " " << command_.arguments << "\n\n"
                << command_.help << "\n\n"
                << shown_;
      return false;
    }
    po::notify(values);
  } catch (const po::error& error) {
    throw Error(ErrorCode::kInvalidArgument, error.what() + usage);
  }
  for (const std::string& name : required_) {
    if (!values.contains(name)) {
      throw Error(ErrorCode::kInvalidArgument,
                  std::string(name).append(" is missing").append(usage));
    }
  }
  return true;
}

void Options::parse_file(const std::string& path) {
  po::variables_map values;
  std::ifstream in(path);
  if (!in) throw Error(ErrorCode::kNotFound, path + " can't be read");
  try {
    po::store(po::parse_config_file(in, shown_), values);
    po::notify(values);
  } catch (const po::error& error) {
    throw Error(ErrorCode::kInvalidArgument, path + ": " + error.what());
  }
}

void print_notices(const std::vector<JobError>& notices) {
  for (const JobError& notice : notices) {
    std::cerr << "musher: notice: " << notice.path << ": " << notice.message << "\n";
  }
}

int report(const Error& error) {
  // Several things wrong with a job are a line each.
  const std::string text = error.what();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) std::cerr << "musher: " << text.substr(begin, end - begin) << "\n";
    begin = end + 1;
  }
  switch (error.code()) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
      return kUnreachable;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kFailedPrecondition:
      return kUsage;
    default:
      return kFailed;
  }
}

}  // namespace musher::cli
