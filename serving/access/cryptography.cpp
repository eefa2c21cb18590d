#include "serving/access/cryptography.h"

#include <memory>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "common/error.h"

namespace musher {
namespace {

constexpr std::size_t kKey = 32;
constexpr std::size_t kNonce = 12;
constexpr std::size_t kTag = 16;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* data(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* data(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

void check(int result, const char* what) {
  if (result != 1) throw Error(ErrorCode::kInternal, std::string("OpenSSL: ") + what + " failed");
}

}  // namespace

Sha256 sha256(std::string_view bytes) {
  Sha256 digest;
  SHA256(data(bytes), bytes.size(), digest.data());
  return digest;
}

Sha256 hmac_sha256(std::string_view key, std::string_view message) {
  Sha256 digest;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data(message), message.size(),
           digest.data(), nullptr) == nullptr) {
    check(0, "HMAC");
  }
  return digest;
}

std::string hex(std::span<const unsigned char> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string base64(std::span<const unsigned char> bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL ends it with a zero
  const int length = EVP_EncodeBlock(data(text), bytes.data(), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

std::string from_base64(std::string_view text) {
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length = text.size() % 4 != 0
                         ? -1
                         : EVP_DecodeBlock(data(bytes), data(text), static_cast<int>(text.size()));
  if (length < 0) throw Error(ErrorCode::kDataLoss, "a text is not base64");
  for (auto c = text.rbegin(); c != text.rend() && *c == '='; ++c) bytes.pop_back();
  return bytes;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  check(RAND_bytes(data(bytes), static_cast<int>(count)), "RAND_bytes");
  return bytes;
}

std::string seal(std::string_view key, std::string_view plain, std::string_view context) {
  if (key.size() != kKey) throw Error(ErrorCode::kInternal, "a sealing key must have 32 bytes");
  std::string sealed = random_bytes(kNonce);
  sealed.resize(kNonce + plain.size() + kTag);
  const Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  check(EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, data(key), data(sealed)),
        "encryption");
  check(EVP_EncryptUpdate(cipher.get(), nullptr, &length, data(context),
                          static_cast<int>(context.size())),
        "encryption");
  unsigned char* out = data(sealed) + kNonce;
  check(EVP_EncryptUpdate(cipher.get(), out, &length, data(plain), static_cast<int>(plain.size())),
        "encryption");
  check(EVP_EncryptFinal_ex(cipher.get(), out + length, &length), "encryption");
  check(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag, out + plain.size()),
        "encryption");
  return sealed;
}

std::string unseal(std::string_view key, std::string_view sealed, std::string_view context) {
  if (key.size() != kKey) throw Error(ErrorCode::kInternal, "a sealing key must have 32 bytes");
  const Error wrong(ErrorCode::kDataLoss, "a sealed secret was made with another key, or changed");
  if (sealed.size() < kNonce + kTag) throw wrong;
  const std::string_view body = sealed.substr(kNonce, sealed.size() - kNonce - kTag);
  std::string tag(sealed.substr(sealed.size() - kTag));
  std::string plain(body.size(), '\0');
  const Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  check(EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, data(key), data(sealed)),
        "decryption");
  check(EVP_DecryptUpdate(cipher.get(), nullptr, &length, data(context),
                          static_cast<int>(context.size())),
        "decryption");
  check(EVP_DecryptUpdate(cipher.get(), data(plain), &length, data(body),
                          static_cast<int>(body.size())),
        "decryption");
  check(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTag, data(tag)), "decryption");
  if (EVP_DecryptFinal_ex(cipher.get(), data(plain) + length, &length) != 1) throw wrong;
  return plain;
}

}  // namespace musher
