#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

/// Certificates of a private authority (X.509 v3, RFC 5280) with keys on the curve P-256, by which
/// the processes of one installation know each other. Text is PEM. Errors name what is wrong.
namespace musher {

/// What the holder of a certificate is. It is the certificate's common name, and the one thing that
/// is asked of it: who a rank is, its attempt's token says.
enum class Role { kCoordinator, kWorker, kClient };

/// E.g. "musher-worker".
std::string_view common_name(Role role);

/// A certificate and the private key that belongs to it.
struct Identity {
  std::string certificate;
  std::string key;
};

/// From when until when a certificate is good.
struct Validity {
  std::chrono::system_clock::time_point from;
  std::chrono::system_clock::time_point until;
  /// From a minute ago, for clocks that differ, for so many days.
  static Validity days(int count);
};

/// A new authority, which signs itself and may sign no other authority.
Identity make_authority(const Validity& validity);

/// A new key, and its certificate signed by `authority`, good for no longer than that is. Beside
/// the role's name, it holds `names`: host names or IP addresses. Throws kInvalidArgument where one
/// of them is neither, or the authority's certificate and key do not belong together.
Identity issue(const Identity& authority, Role role, const Validity& validity,
               const std::vector<std::string>& names = {});

/// The same for a server of models or functions by HTTPS, which holds none of the roles: its
/// certificate's name is "musher-server", and it lets nobody into a coordinator, nor be one.
Identity issue_server(const Identity& authority, const Validity& validity,
                      const std::vector<std::string>& names);

/// Why a certificate is refused.
enum class Flaw {
  kNone,
  kMissing,    ///< there is none
  kUntrusted,  ///< another authority's, or no certificate for a client
  kExpired,    ///< or not good yet
};

/// What a certificate was found to be.
struct Finding {
  Flaw flaw = Flaw::kNone;
  std::string name;  ///< its common name; empty where it is missing or not readable
  std::string why;   ///< where there is a flaw: for people
};

/// Judges the certificates that clients present. Thread-safe. A certificate's signature is checked
/// once and remembered (a thousand at most); its dates are looked at each time.
class CertificateJudge {
 public:
  /// `authority`: the certificate of whoever must have signed. Throws kInvalidArgument.
  explicit CertificateJudge(const std::string& authority);
  ~CertificateJudge();
  CertificateJudge(const CertificateJudge&) = delete;
  CertificateJudge& operator=(const CertificateJudge&) = delete;

  Finding judge(const std::string& certificate, std::chrono::system_clock::time_point now) const;

 private:
  /// What of a certificate's worth does not change.
  struct Worth {
    Finding finding;  ///< all but its dates
    std::chrono::system_clock::time_point from, until;
  };
  Worth examine(const std::string& certificate) const;

  struct Store;
  std::unique_ptr<Store> store_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Worth> trusted_;  ///< by their PEM text
};

}  // namespace musher
