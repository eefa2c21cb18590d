#include "rpc/certificates.h"

#include <algorithm>
#include <optional>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/error.h"

namespace musher {

namespace {

using Clock = std::chrono::system_clock;

constexpr std::size_t kMostRemembered = 1000;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;
using Time = std::unique_ptr<ASN1_TIME, Freer<ASN1_TIME_free>>;

/// What OpenSSL says of its last failure.
std::string openssl_words() {
  const char* reason = ::ERR_reason_error_string(::ERR_peek_last_error());
  ::ERR_clear_error();
  return reason != nullptr ? reason : "unknown error";
}

void require(bool worked, const char* what) {
  if (!worked) {
    throw Error(ErrorCode::kInternal, fmt::format("OpenSSL: {}: {}", what, openssl_words()));
  }
}

Bio reader(const std::string& text) {
  return Bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string written(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Certificate read_certificate(const std::string& text) {
  const Bio bio = reader(text);
  Certificate certificate(::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!certificate) ::ERR_clear_error();
  return certificate;
}

Key read_key(const std::string& text) {
  const Bio bio = reader(text);
  Key key(::PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!key) ::ERR_clear_error();
  return key;
}

std::string to_pem(X509* certificate) {
  const Bio bio(::BIO_new(::BIO_s_mem()));
  require(::PEM_write_bio_X509(bio.get(), certificate) == 1, "a certificate can't be written");
  return written(bio.get());
}

std::string to_pem(EVP_PKEY* key) {
  const Bio bio(::BIO_new(::BIO_s_mem()));
  require(::PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
          "a key can't be written");
  return written(bio.get());
}

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  ::X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(::X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  require(extension && ::X509_add_ext(certificate, extension.get(), -1) == 1,
          "an extension can't be added");
}

void set_serial(X509* certificate) {
  unsigned char bytes[16];
  require(::RAND_bytes(bytes, sizeof bytes) == 1, "no random bytes");
  bytes[0] &= 0x7f;  // a serial number is positive
  const std::unique_ptr<BIGNUM, Freer<BN_free>> number(::BN_bin2bn(bytes, sizeof bytes, nullptr));
  require(::BN_to_ASN1_INTEGER(number.get(), ::X509_get_serialNumber(certificate)) != nullptr,
          "no serial number");
}

/// All but extensions and signature.
Certificate make_certificate(EVP_PKEY* key, std::string_view name, X509_NAME* issuer,
                             const Validity& validity) {
  Certificate certificate(::X509_new());
  X509* one = certificate.get();
  require(::X509_set_version(one, X509_VERSION_3) == 1, "no version");
  set_serial(one);
  ::ASN1_TIME_set(::X509_getm_notBefore(one), Clock::to_time_t(validity.from));
  ::ASN1_TIME_set(::X509_getm_notAfter(one), Clock::to_time_t(validity.until));
  const auto text = reinterpret_cast<const unsigned char*>(name.data());
  require(::X509_NAME_add_entry_by_txt(::X509_get_subject_name(one), "CN", MBSTRING_UTF8, text,
                                       static_cast<int>(name.size()), -1, 0) == 1,
          "no subject");
  ::X509_set_issuer_name(one, issuer != nullptr ? issuer : ::X509_get_subject_name(one));
  require(::X509_set_pubkey(one, key) == 1, "no public key");
  return certificate;
}

/// As an extension says it: `DNS:h1,IP:10.0.0.1`.
std::string alternative_names(std::string_view own, const std::vector<std::string>& names) {
  std::string text = fmt::format("DNS:{}", own);
  for (const std::string& name : names) {
    const std::unique_ptr<ASN1_OCTET_STRING, Freer<ASN1_OCTET_STRING_free>> address(
        ::a2i_IPADDRESS(name.c_str()));
    ::ERR_clear_error();
    const bool is_name =
        !name.empty() && name.find_first_not_of(
                             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
                             std::string::npos;
    if (!address && !is_name) {
      throw Error(ErrorCode::kInvalidArgument,
                  "\"" + name + "\" is neither a host's name nor an IP address");
    }
    text += fmt::format(",{}:{}", address ? "IP" : "DNS", name);
  }
  return text;
}

Clock::time_point time_of(const ASN1_TIME* time) {
  std::tm parts{};
  require(::ASN1_TIME_to_tm(time, &parts) == 1, "a date can't be read");
  return Clock::from_time_t(::timegm(&parts));
}

std::string name_of(X509* certificate) {
  char name[256] = {};
  ::X509_NAME_get_text_by_NID(::X509_get_subject_name(certificate), NID_commonName, name,
                              sizeof name);
  return name;
}

std::string date(Clock::time_point time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(Clock::to_time_t(time)));
}

Identity issue_as(const Identity& authority, std::string_view name, const char* usage,
                  const Validity& validity, const std::vector<std::string>& names) {
  const Certificate issuer = read_certificate(authority.certificate);
  const Key issuer_key = read_key(authority.key);
  if (!issuer || !issuer_key || ::X509_check_private_key(issuer.get(), issuer_key.get()) != 1) {
    ::ERR_clear_error();
    throw Error(ErrorCode::kInvalidArgument,
                "the authority's certificate and key can't be read or do not belong together");
  }
  const Key key(EVP_EC_gen("P-256"));
  require(key != nullptr, "no key");
  const auto last = time_of(::X509_get0_notAfter(issuer.get()));
  const Certificate certificate =
      make_certificate(key.get(), name, ::X509_get_subject_name(issuer.get()),
                       {validity.from, std::min(validity.until, last)});
  X509* one = certificate.get();
  add_extension(one, issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(one, issuer.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(one, issuer.get(), NID_ext_key_usage, usage);
  add_extension(one, issuer.get(), NID_subject_alt_name, alternative_names(name, names));
  add_extension(one, issuer.get(), NID_subject_key_identifier, "hash");
  add_extension(one, issuer.get(), NID_authority_key_identifier, "keyid:always");
  require(::X509_sign(one, issuer_key.get(), ::EVP_sha256()) > 0, "a certificate can't be signed");
  return {to_pem(one), to_pem(key.get())};
}

}  // namespace

std::string_view common_name(Role role) {
  switch (role) {
    case Role::kCoordinator:
      return "musher-coordinator";
    case Role::kWorker:
      return "musher-worker";
    case Role::kClient:
      return "musher-client";
  }
  return "";
}

Validity Validity::days(int count) {
  const auto now = Clock::now();
  return {now - std::chrono::minutes(1), now + std::chrono::hours(24) * count};
}

Identity make_authority(const Validity& validity) {
  const Key key(EVP_EC_gen("P-256"));
  require(key != nullptr, "no key");
  const Certificate certificate =
      make_certificate(key.get(), "musher-authority", nullptr, validity);
  X509* one = certificate.get();
  add_extension(one, one, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(one, one, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(one, one, NID_subject_key_identifier, "hash");
  require(::X509_sign(one, key.get(), ::EVP_sha256()) > 0, "the authority can't be signed");
  return {to_pem(one), to_pem(key.get())};
}

Identity issue(const Identity& authority, Role role, const Validity& validity,
               const std::vector<std::string>& names) {
  return issue_as(authority, common_name(role),
                  role == Role::kCoordinator ? "serverAuth" : "clientAuth", validity, names);
}

Identity issue_server(const Identity& authority, const Validity& validity,
                      const std::vector<std::string>& names) {
  return issue_as(authority, "musher-server", "serverAuth", validity, names);
}

struct CertificateJudge::Store {
  std::unique_ptr<X509_STORE, Freer<X509_STORE_free>> authorities{::X509_STORE_new()};
};

CertificateJudge::CertificateJudge(const std::string& authority)
    : store_(std::make_unique<Store>()) {
  const Certificate certificate = read_certificate(authority);
  if (!certificate) {
    throw Error(ErrorCode::kInvalidArgument, "the authority's certificate can't be read");
  }
  require(::X509_STORE_add_cert(store_->authorities.get(), certificate.get()) == 1,
          "the authority can't be used");
}

CertificateJudge::~CertificateJudge() = default;

CertificateJudge::Worth CertificateJudge::examine(const std::string& certificate) const {
  const Certificate one = read_certificate(certificate);
  if (!one) return {{Flaw::kUntrusted, "", "the certificate can't be read"}, {}, {}};
  const StoreContext context(::X509_STORE_CTX_new());
  require(context && ::X509_STORE_CTX_init(context.get(), store_->authorities.get(), one.get(),
                                           nullptr) == 1,
          "a certificate can't be checked");
  ::X509_STORE_CTX_set_default(context.get(), "ssl_client");
  ::X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_NO_CHECK_TIME);
  Worth worth{{Flaw::kNone, name_of(one.get()), ""},
              time_of(::X509_get0_notBefore(one.get())),
              time_of(::X509_get0_notAfter(one.get()))};
  if (::X509_verify_cert(context.get()) == 1) return worth;
  ::ERR_clear_error();
  worth.finding.flaw = Flaw::kUntrusted;
  worth.finding.why =
      fmt::format("the certificate of {} is not to be trusted: {}", worth.finding.name,
                  ::X509_verify_cert_error_string(::X509_STORE_CTX_get_error(context.get())));
  return worth;
}

/// OpenSSL takes longer to read a certificate than a call takes otherwise, and processes present
/// the same one with each call: what is known of it is kept.
Finding CertificateJudge::judge(const std::string& certificate, Clock::time_point now) const {
  if (certificate.empty()) return {Flaw::kMissing, "", "there is no certificate"};
  std::optional<Worth> worth;
  {
    const std::lock_guard lock(mutex_);
    const auto known = trusted_.find(certificate);
    if (known != trusted_.end()) worth = known->second;
  }
  if (!worth) {
    worth = examine(certificate);
    if (worth->finding.flaw != Flaw::kNone) return worth->finding;
    const std::lock_guard lock(mutex_);
    if (trusted_.size() >= kMostRemembered) trusted_.clear();
    trusted_.emplace(certificate, *worth);
  }
  const std::string& name = worth->finding.name;
  if (now < worth->from) {
    return {Flaw::kExpired, name,
            fmt::format("the certificate of {} is not good before {}", name, date(worth->from))};
  }
  if (now > worth->until) {
    return {Flaw::kExpired, name,
            fmt::format("the certificate of {} expired at {}", name, date(worth->until))};
  }
  return worth->finding;
}

}  // namespace musher
