#pragma once

#include <functional>
#include <optional>
#include <string>

namespace musher {

/// Where a host asks EC2 about itself. Filled once in `main` and passed down.
struct MetadataConfig {
  std::string endpoint = "http://169.254.169.254";
  bool disabled = false;  ///< nothing is to be asked

  /// From what AWS's own tools read: AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_EC2_METADATA_DISABLED.
  static MetadataConfig from_environment();
};

/// EC2's instance metadata service, version 2: a token first, then questions with it. Each call
/// takes a few seconds at most. For one thread.
class MetadataService {
 public:
  /// `stop`: gives a call up that is under way.
  MetadataService(MetadataConfig config, std::function<bool()> stop);

  /// `/latest/meta-data/<path>`; absent where there is nothing (404). A token that is not taken any
  /// more is replaced. Throws kUnavailable naming the URL.
  std::optional<std::string> get(const std::string& path);

 private:
  struct Answer {
    long status = 0;
    std::string body;
  };
  Answer ask(const std::string& path, const std::string& header, bool put);
  Answer ask_with_token(const std::string& path);

  const MetadataConfig config_;
  const std::function<bool()> stop_;
  std::string token_;
};

}  // namespace musher
