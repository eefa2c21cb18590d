#include "coordinator/hosts.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "common/error.h"
#include "common/thread.h"
#include "coordinator/host_agent.h"
#include "launch/command.h"
#include "launch/mpirun.h"
#include "launch/shell.h"
#include "rpc/tls.h"

namespace musher {

namespace {

using nlohmann::json;

/// The last line that says something.
std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of(" \r\n");
  if (end == std::string::npos) return "";
  const std::size_t begin = text.find_last_of('\n', end);
  return text.substr(begin + 1, end - begin);
}

HostAnswer ask_host(const HostAccess& access, const std::string& host, const json& request,
                    Deadline deadline) {
  HostAnswer answer{host, {}, ""};
  try {
    if (is_this_machine(host)) {
      answer.reply = serve_host_request(request, "");
      return answer;
    }
    std::vector<std::string> words = ssh_words(access.ssh);
    words.insert(words.end(), {"--", host, quoted_for_shell(access.musher), "hosts", "agent"});
    const CommandResult result = run_command(words, request.dump(), deadline);
    if (result.timed_out) {
      answer.error = "does not answer in time";
    } else if (result.exit_code != 0) {
      const std::string words_of_it = last_line(result.err);
      answer.error = words_of_it.empty()
                         ? fmt::format("ssh ended with exit code {}", result.exit_code)
                         : words_of_it;
    } else {
      answer.reply = json::parse(result.out);
    }
  } catch (const std::exception& error) {
    answer.error = error.what();
  }
  return answer;
}

}  // namespace

std::map<std::string, std::string> rank_files(const std::string& token,
                                              const std::filesystem::path& tls,
                                              const HostAccess& access) {
  std::map<std::string, std::string> files = {{"token", token + "\n"}};
  for (const char* name : {"ca.pem", "certificate.pem", "key.pem"}) {
    files[name] = read_text_file(tls / name);
  }
  if (!access.store_credentials.empty()) files["credentials"] = access.store_credentials;
  return files;
}

std::vector<HostAnswer> ask_hosts(const HostAccess& access, const std::vector<std::string>& hosts,
                                  const std::vector<json>& requests, Deadline deadline) {
  std::vector<HostAnswer> answers(hosts.size());
  std::vector<Thread> threads;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    threads.emplace_back(
        "host", [&, i] { answers[i] = ask_host(access, hosts[i], requests[i], deadline); });
  }
  threads.clear();  // joins them
  return answers;
}

std::vector<HostAnswer> ask_hosts(const HostAccess& access, const std::vector<std::string>& hosts,
                                  const json& request, Deadline deadline) {
  return ask_hosts(access, hosts, std::vector<json>(hosts.size(), request), deadline);
}

std::vector<std::string> names_of(const std::vector<HostSlots>& hosts) {
  std::vector<std::string> names;
  names.reserve(hosts.size());
  for (const HostSlots& host : hosts) names.push_back(host.host);
  return names;
}

bool any_remote(const std::vector<HostSlots>& hosts) {
  return std::any_of(hosts.begin(), hosts.end(),
                     [](const HostSlots& host) { return !is_this_machine(host.host); });
}

std::vector<HostSlots> read_hostfile(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    throw Error(ErrorCode::kNotFound, "the hostfile " + file.string() + " can't be read");
  }
  std::vector<HostSlots> hosts;
  std::set<std::string> names;
  for (const auto& [host, slots] : parse_hostfile(read_text_file(file))) {
    if (!names.insert(host).second) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the hostfile {} names {} twice", file.string(), host));
    }
    if (host.starts_with('-')) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the hostfile {}: {} is no host's name", file.string(), host));
    }
    hosts.push_back({host, slots});
  }
  if (hosts.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "the hostfile " + file.string() + " names no host");
  }
  return hosts;
}

std::vector<HostNetwork> networks_of(const std::vector<HostAnswer>& answers) {
  std::string here;  // this machine, as another host sees it
  for (const HostAnswer& answer : answers) here = answer.reply.value("reached_from", here);
  std::vector<HostNetwork> hosts;
  for (const HostAnswer& answer : answers) {
    HostNetwork host{answer.host, {}, answer.reply.value("reached_at", here)};
    for (const json& one : answer.reply.at("interfaces")) {
      host.interfaces.push_back({one.at("name"), one.at("address"), one.at("prefix").get<int>()});
    }
    hosts.push_back(std::move(host));
  }
  return hosts;
}

}  // namespace musher
