#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "serving/http/server.h"

namespace musher {

/// The certificate that an HTTPS server shows, TLS 1.2 and 1.3. Its files are looked at again
/// before a connection, though not more often than TlsOptions says, so that it may be renewed while
/// the server runs. Thread-safe.
class ServerTls {
 public:
  /// kInvalidArgument or kFailedPrecondition naming the file that can't be used.
  explicit ServerTls(TlsOptions options);

  /// For a connection that begins now. New files that can't be used change nothing: that is noted,
  /// and tried again at the next look, for they may be just being replaced.
  std::shared_ptr<boost::asio::ssl::context> current(std::chrono::steady_clock::time_point now);

 private:
  /// Tells one content of the files from another.
  std::string stamp() const;

  const TlsOptions options_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point looked_;
  std::string stamp_;
  std::shared_ptr<boost::asio::ssl::context> context_;
};

}  // namespace musher
