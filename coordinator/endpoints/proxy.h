#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "coordinator/endpoints/proxy_config.h"
#include "coordinator/process.h"

namespace musher {

/// One endpoint's HAProxy: its process, and its runtime API. It outlives this object and the
/// coordinator, which finds it again. One thread at a time.
/// https://docs.haproxy.org/2.6/management.html
class Proxy {
 public:
  /// `program`: the path of haproxy. `folder`: where its configuration, socket and log are.
  Proxy(std::string program, std::filesystem::path folder)
      : program_(std::move(program)), folder_(std::move(folder)) {}

  /// Takes up the process of an earlier coordinator. False where it is gone.
  bool adopt(const ProcessIdentity& identity);
  /// Starts it; whatever was there is killed. kInvalidArgument where the program can't be run.
  ProcessIdentity start(const ProxyOptions& options);
  bool alive();
  /// Whether the process has what `options` say.
  bool has(const ProxyOptions& options) const;
  /// Connections from now on get this certificate. REQUIRES: that it was started with another.
  void renew(const std::string& certificate);
  /// Takes no new connections and ends when those that are open have had their answers.
  void finish();
  void kill();
  /// Why it ended.
  std::string last_words() const;

  /// Of the runtime API. kUnavailable, kDeadlineExceeded where it does not answer.
  ProxyStats stats();
  void add(const std::string& instance, const ProxyTarget& target);
  void drain(const std::string& instance);
  /// Takes it out. Where requests are under way that is for the next try.
  void remove(const std::string& instance);

 private:
  std::string command(const std::string& text);
  std::filesystem::path log() const { return folder_ / "haproxy.log"; }

  const std::string program_;
  const std::filesystem::path folder_;
  std::optional<Process> process_;
  bool finishing_ = false;
};

}  // namespace musher
