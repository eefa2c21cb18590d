#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

/// The few primitives of OpenSSL that signatures and stored secrets are made of.
namespace musher {

using Sha256 = std::array<unsigned char, 32>;

Sha256 sha256(std::string_view bytes);
Sha256 hmac_sha256(std::string_view key, std::string_view message);

/// Lower case, as AWS writes digests.
std::string hex(std::span<const unsigned char> bytes);
std::string base64(std::span<const unsigned char> bytes);
/// kDataLoss for what base64() does not write.
std::string from_base64(std::string_view text);

/// In time that does not depend on where they differ.
bool equal_in_constant_time(std::string_view a, std::string_view b);

/// From the system's generator for secrets.
std::string random_bytes(std::size_t count);

/// AES-256-GCM with a random nonce: nonce, ciphertext and tag in one string. `context` is not in
/// it, but must be the same to open it, so that one sealed text can't take another's place.
/// REQUIRES: a key of 32 bytes.
std::string seal(std::string_view key, std::string_view plain, std::string_view context);
/// kDataLoss where the key, the context or a byte is another.
std::string unseal(std::string_view key, std::string_view sealed, std::string_view context);

}  // namespace musher
