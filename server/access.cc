#include "server/access.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/error.h"

namespace tern {
namespace {

// "name:port", "[address]:port" or without port; brackets are left out.
std::string_view WithoutPort(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    return end == std::string_view::npos ? std::string_view() : host.substr(1, end - 1);
  }
  return host.substr(0, host.rfind(':'));
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

bool IsAddress(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool Contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::any_of(
      names, [&](const std::string& known) { return known == "*" || Lower(known) == name; });
}

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;
Digest DigestOf(std::string_view text) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

// Takes as long whatever the first difference is and whichever key fits.
bool IsOneOf(const std::vector<std::string>& keys, std::string_view given) {
  const Digest digest = DigestOf(given);
  bool found = false;
  for (const std::string& key : keys)
    found |= CRYPTO_memcmp(DigestOf(key).data(), digest.data(), digest.size()) == 0;
  return found;
}

}  // namespace

std::vector<std::string> ParseKeys(std::string_view text) {
  std::vector<std::string> keys(1);
  bool comment = false;
  for (const char c : text) {
    comment = (comment || c == '#') && c != '\n';
    const bool between = comment || c == ',' || std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!between) {
      keys.back() += c;
    } else if (!keys.back().empty()) {
      keys.emplace_back();
    }
  }
  if (keys.back().empty()) keys.pop_back();
  return keys;
}

Access::Access(AccessOptions options, const std::string& bound_host)
    : options_(std::move(options)), bound_host_(Lower(bound_host)) {
  ReloadKeys();
}

void Access::ReloadKeys() {
  KeyList keys = options_.api_keys;
  if (!options_.api_key_file.empty()) {
    const KeyList more = ParseKeys(ReadFile(options_.api_key_file));
    // An empty file would open the server to everyone.
    if (more.empty()) {
      throw BadFile({options_.api_key_file, "keys", "at least one, a line each", "none",
                     "write a key into it, or leave the option out"});
    }
    keys.insert(keys.end(), more.begin(), more.end());
  }
  const std::lock_guard lock(mutex_);
  keys_ = keys.empty() ? nullptr : std::make_shared<const KeyList>(std::move(keys));
}

std::shared_ptr<const Access::KeyList> Access::Keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

// An address is no name that somebody else could point here.
bool Access::AllowsHost(std::string_view host) const {
  const std::string name = Lower(WithoutPort(host));
  return name == "localhost" || name.ends_with(".localhost") || name == bound_host_ ||
         IsAddress(name) || Contains(options_.allowed_hosts, name);
}

bool Access::AllowsOrigin(std::string_view origin) const {
  return !origin.empty() && Contains(options_.cors_origins, Lower(origin));
}

void Access::CheckSource(std::string_view host, std::string_view origin) const {
  if (!host.empty() && !AllowsHost(host)) {
    throw RequestError(403, "host_not_allowed",
                       "the request's Host is not a name of this server; --allowed-host adds names",
                       "host");
  }
  if (origin.empty() || AllowsOrigin(origin)) return;
  const size_t scheme = origin.find("://");
  if (scheme != std::string_view::npos && Lower(origin.substr(scheme + 3)) == Lower(host)) return;
  throw RequestError(403, "origin_not_allowed",
                     "pages of this Origin may not use this server; --cors-origin allows one",
                     "origin");
}

void Access::CheckKey(std::string_view authorization, std::string_view x_api_key) const {
  const std::shared_ptr<const KeyList> keys = Keys();
  if (keys == nullptr) return;
  constexpr std::string_view kBearer = "bearer ";
  std::string_view given = x_api_key;
  if (Lower(authorization.substr(0, kBearer.size())) == kBearer)
    given = authorization.substr(kBearer.size());
  if (!given.empty() && IsOneOf(*keys, given)) return;
  throw RequestError(401, "invalid_api_key",
                     given.empty() ? "this server asks for a key: \"Authorization: Bearer KEY\""
                                   : "the key is not one of this server's");
}

}  // namespace tern
