#include "serving/access/access_keys.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "common/error.h"
#include "serving/access/cryptography.h"
#include "serving/access/private_file.h"

namespace musher {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kSecretBytes = 30;  // 40 characters of base64, as AWS's
constexpr std::size_t kIdLetters = 16;

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[sizeof "2026-11-27T16:00:00Z"];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string new_id() {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string id = "MSHR";
  for (const char byte : random_bytes(kIdLetters))
    id += kLetters[static_cast<unsigned char>(byte) % kLetters.size()];
  return id;
}

std::string new_secret() {
  const std::string bytes = random_bytes(kSecretBytes);
  return base64({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()});
}

/// IAM: letters, digits and +=,.@_-
void check_user(const std::string& user) {
  const bool good = !user.empty() && user.size() <= 64 && std::ranges::all_of(user, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("+=,.@_-").find(c) != std::string_view::npos;
  });
  if (!good) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("a user's name must be 1 to 64 letters, digits or +=,.@_-, not \"{}\"", user));
  }
}

Json read_json(const std::string& path) {
  const auto text = read_private_file(path);
  if (!text) return Json::object();
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    throw Error(ErrorCode::kDataLoss, path + " is damaged: it must hold a JSON object");
  return json;
}

std::string sealed_in_base64(std::string_view key, std::string_view secret, std::string_view id) {
  const std::string sealed = seal(key, secret, id);
  return base64({reinterpret_cast<const unsigned char*>(sealed.data()), sealed.size()});
}

}  // namespace

AccessKeys::AccessKeys(std::string folder, std::string account)
    : folder_(std::move(folder)), account_(std::move(account)) {
  open_private_folder(folder_);
}

std::string AccessKeys::sealing_key() const {
  const std::string path = folder_ + "/secret.key";
  auto key = read_private_file(path);
  if (key && key->size() == 32) return *key;
  if (key) throw Error(ErrorCode::kDataLoss, path + " is damaged: it must hold 32 bytes");
  if (stamp()) {
    throw Error(ErrorCode::kDataLoss,
                fmt::format("{} is missing, without which {} can't be read", path, file()));
  }
  key = random_bytes(32);
  write_private_file(path, *key);
  return *key;
}

AccessKeys::Created AccessKeys::create(const std::string& user, const std::string& policy_json) {
  check_user(user);
  AccessPolicy::parse(policy_json);
  const FileLock lock(folder_ + "/lock");
  const std::string key = sealing_key();
  Json keys = read_json(file());
  Created created{new_id(), new_secret()};
  while (keys.contains(created.id)) created.id = new_id();
  keys[created.id] = {{"user", user},
                      {"created", utc_now()},
                      {"sealed_secret", sealed_in_base64(key, created.secret, created.id)},
                      {"policy", Json::parse(policy_json)}};
  write_private_file(file(), keys.dump(2) + "\n");
  return created;
}

void AccessKeys::remove(const std::string& id) {
  const FileLock lock(folder_ + "/lock");
  Json keys = read_json(file());
  if (keys.erase(id) == 0)
    throw Error(ErrorCode::kNotFound, fmt::format("there is no access key {}", id));
  write_private_file(file(), keys.dump(2) + "\n");
}

std::vector<AccessKeys::Summary> AccessKeys::list() const {
  std::vector<Summary> summaries;
  const Json keys = read_json(file());
  for (const auto& [id, key] : keys.items()) {
    summaries.push_back({id, key.value("user", ""), key.value("created", ""),
                         key.value("policy", Json::object()).dump()});
  }
  std::ranges::sort(summaries, {}, &Summary::id);
  return summaries;
}

std::optional<AccessKeys::Stamp> AccessKeys::stamp() const {
  struct stat about = {};
  if (::stat(file().c_str(), &about) != 0) return std::nullopt;
  const std::int64_t nanoseconds =
      std::int64_t{about.st_mtim.tv_sec} * 1'000'000'000 + about.st_mtim.tv_nsec;
  return Stamp{nanoseconds, {about.st_ino, about.st_size}};
}

void AccessKeys::load() {
  const auto now = stamp();  // before reading: what is written meanwhile is read again next time
  if (now == loaded_) return;
  std::map<std::string, AccessKey> keys;
  if (now) {
    const std::string key = sealing_key();
    const Json entries = read_json(file());
    for (const auto& [id, entry] : entries.items()) {
      try {
        const std::string user = entry.at("user").get<std::string>();
        keys[id] = {
            .id = id,
            .user = user,
            .user_arn = fmt::format("arn:aws:iam::{}:user/{}", account_, user),
            .policy = AccessPolicy::parse(entry.at("policy").dump()),
            .secret = unseal(key, from_base64(entry.at("sealed_secret").get<std::string>()), id)};
      } catch (const Json::exception&) {
        throw Error(ErrorCode::kDataLoss, fmt::format("{} is damaged: key {}", file(), id));
      } catch (const Error& error) {
        throw Error(error.code(), fmt::format("{}: key {}: {}", file(), id, error.what()));
      }
    }
  }
  keys_ = std::move(keys);
  loaded_ = now;
}

std::optional<AccessKey> AccessKeys::find(const std::string& id) {
  const std::lock_guard lock(mutex_);
  load();
  const auto found = keys_.find(id);
  if (found == keys_.end()) return std::nullopt;
  return found->second;
}

}  // namespace musher
