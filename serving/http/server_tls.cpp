#include "serving/http/server_tls.h"

#include <utility>

#include <boost/asio/buffer.hpp>
#include <fmt/format.h>
#include <sys/stat.h>

#include "common/error.h"
#include "serving/access/private_file.h"

namespace musher {
namespace {

namespace ssl = boost::asio::ssl;

std::shared_ptr<ssl::context> load(const TlsOptions& options) {
  const auto refuse = [](const char* what, const std::string& file, const std::string& why) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the {} {} can't be used: {}", what, file, why));
  };
  boost::system::error_code error;
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                       ssl::context::no_sslv3 | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  // Without this OpenSSL would ask for an encrypted key's password at the terminal.
  context->set_password_callback([](std::size_t, ssl::context::password_purpose) { return ""; });
  context->use_certificate_chain_file(options.certificate, error);
  if (error) refuse("certificate", options.certificate, error.message());
  const auto key = read_private_file(options.key);
  if (!key) refuse("certificate's key", options.key, "there is none");
  context->use_private_key(boost::asio::buffer(*key), ssl::context::pem, error);
  if (error) refuse("certificate's key", options.key, error.message());
  return context;
}

}  // namespace

TlsOptions tls_folder(const std::string& folder) {
  TlsOptions options;
  options.certificate = folder + "/certificate.pem";
  options.key = folder + "/key.pem";
  return options;
}

ServerTls::ServerTls(TlsOptions options)
    : options_(std::move(options)),
      looked_(std::chrono::steady_clock::now()),
      stamp_(stamp()),
      context_(load(options_)) {}

std::shared_ptr<ssl::context> ServerTls::current(std::chrono::steady_clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (now - looked_ < options_.look_every) return context_;
  looked_ = now;
  std::string found = stamp();
  if (found == stamp_) return context_;
  try {
    context_ = load(options_);
    stamp_ = std::move(found);
  } catch (const Error& error) {
    if (options_.notice)
      options_.notice(fmt::format("the certificate before goes on: {}", error.what()));
  }
  return context_;
}

std::string ServerTls::stamp() const {
  std::string text;
  for (const std::string& file : {options_.certificate, options_.key}) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) status = {};
    text += fmt::format("{}:{}:{}.{} ", status.st_ino, status.st_size, status.st_mtim.tv_sec,
                        status.st_mtim.tv_nsec);
  }
  return text;
}

}  // namespace musher
