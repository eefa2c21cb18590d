#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"

namespace grpc {
class Service;
}

namespace musher {

/// HOST:PORT taken apart.
struct ListenAddress {
  std::string host;
  int port = 0;
  /// Throws kInvalidArgument saying what would be right.
  static ListenAddress parse(const std::string& text);
};

/// The gRPC server of a coordinator: Jobs, Workers, health and reflection, and what is given to it.
class Server {
 public:
  /// Listens at once; port 0 takes any. With a TLS folder (see rpc/tls.h) callers must have a
  /// certificate of its authority, and may call what their role is for. Throws kInvalidArgument for
  /// an address that is not loopback without one, and kAlreadyExists where the port is taken.
  /// `further` services, which must outlive it, are for clients.
  Server(Coordinator& coordinator, const std::string& listen, const std::filesystem::path& tls = {},
         const std::vector<grpc::Service*>& further = {});
  /// Ends the coordinator's waits and the calls under way.
  ~Server();

  /// HOST:PORT that clients and ranks of this machine use.
  const std::string& address() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace musher
