#include "launch/ssh.h"

#include "common/error.h"

namespace musher {

std::vector<std::string> ssh_words(const SshOptions& options) {
  std::vector<std::string> words = {options.program};
  const auto set = [&](const std::string& option) {
    words.emplace_back("-o");
    words.push_back(option);
  };
  if (!options.config.empty()) words.insert(words.end(), {"-F", options.config});
  set("BatchMode=yes");
  set("StrictHostKeyChecking=yes");
  set("ConnectTimeout=5");
  set("ServerAliveInterval=5");
  set("ServerAliveCountMax=3");
  set("LogLevel=ERROR");
  if (!options.known_hosts.empty()) set("UserKnownHostsFile=" + options.known_hosts);
  if (!options.key.empty()) {
    set("IdentitiesOnly=yes");
    words.insert(words.end(), {"-i", options.key});
  }
  if (!options.user.empty()) words.insert(words.end(), {"-l", options.user});
  words.emplace_back("-T");
  return words;
}

std::string ssh_agent(const SshOptions& options) {
  std::string text;
  for (const std::string& word : ssh_words(options)) {
    if (word.empty() || word.find_first_of(" \t\n:\"'") != std::string::npos) {
      throw Error(ErrorCode::kInvalidArgument,
                  "\"" + word +
                      "\" can't be an option of ssh: mpirun allows no blanks, colons or "
                      "quotes in it");
    }
    text += (text.empty() ? "" : " ") + word;
  }
  return text;
}

}  // namespace musher
