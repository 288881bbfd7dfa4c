#include "server/page.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <array>

namespace tern {
namespace {

// 'sha256-..' of the bytes between <name> and </name>, of each such element.
std::string Hashes(std::string_view page, const std::string& name) {
  std::string sources;
  const std::string open = "<" + name + ">", close = "</" + name + ">";
  for (size_t at = page.find(open); at != std::string_view::npos; at = page.find(open, at)) {
    at += open.size();
    const std::string_view text = page.substr(at, page.find(close, at) - at);
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
    SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
    std::array<unsigned char, 4 * (SHA256_DIGEST_LENGTH + 2) / 3 + 1> base64;
    const int size = EVP_EncodeBlock(base64.data(), digest.data(), SHA256_DIGEST_LENGTH);
    sources += " 'sha256-" + std::string(base64.begin(), base64.begin() + size) + "'";
  }
  return sources.empty() ? " 'none'" : sources;
}

}  // namespace

std::string PagePolicy(std::string_view page) {
  return "default-src 'none'; script-src" + Hashes(page, "script") + "; style-src" +
         Hashes(page, "style") +
         "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
         "frame-ancestors 'none'";
}

}  // namespace tern
