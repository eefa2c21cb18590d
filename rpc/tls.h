#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "rpc/certificates.h"

namespace grpc {
class ChannelArguments;
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

/// TLS for gRPC. A *TLS folder* holds what one process needs: `ca.pem`, the authority's
/// certificate; `certificate.pem`, its own; and `key.pem`, which its owner alone may read. The
/// files are looked at every minute, so that certificates may be renewed while processes run;
/// `ca.pem` is read once.
namespace musher {

/// Throws kInvalidArgument naming the file that is missing, or the key that others may read.
void check_tls_folder(const std::filesystem::path& folder);

/// Writes a TLS folder; each file is replaced whole, and made for the owner alone.
void write_tls_folder(const std::filesystem::path& folder, const std::string& authority,
                      const Identity& identity);

/// The first line of a file that its owner alone may read. Throws kInvalidArgument, naming the file
/// as `what`.
std::string read_private_line(const std::filesystem::path& file, const std::string& what);
std::string read_text_file(const std::filesystem::path& file);

/// Where a coordinator is and how it is reached, in one word: `HOST:PORT`, or
/// `HOST:PORT?tls=FOLDER` with the caller's TLS folder.
struct Endpoint {
  std::string address;  ///< HOST:PORT
  std::filesystem::path tls;
  static Endpoint parse(const std::string& text);
  std::string text() const;
};

/// For a client. It presents its certificate and wants that of a coordinator of the same authority,
/// wherever that runs. Without a folder: without TLS, which is for loopback alone;
/// kInvalidArgument for another address.
std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const Endpoint& endpoint,
                                                              grpc::ChannelArguments& arguments);

/// For a coordinator. Clients are asked for their certificates, which TLS lets in whatever they
/// are: who calls has then proved to hold the key, and CertificateJudge must decide on each call.
/// So a refused client learns why, which a failed handshake would not tell it, and is counted.
std::shared_ptr<grpc::ServerCredentials> server_credentials(const std::filesystem::path& folder);

}  // namespace musher
