// Who may ask: host names, pages of other origins, keys. No network.
#ifndef TERN_SERVER_ACCESS_H_
#define TERN_SERVER_ACCESS_H_

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_types.h"

namespace tern {

struct AccessOptions {
  // Names beside localhost and addresses that a Host header may have; "*": any.
  std::vector<std::string> allowed_hosts;
  // Origins whose pages may read answers, as browsers write them ("https://chat.example"); "*":
  // any.
  std::vector<std::string> cors_origins;
  std::vector<std::string> api_keys;  // with those of the file; none at all: no key is asked for
  std::string api_key_file;           // a key a line, "#" begins a comment; empty: none
};

// Keys in `text`, separated by white space or commas; "#" begins a comment up to the line's end.
std::vector<std::string> ParseKeys(std::string_view text);

// Thread-safe.
class Access {
 public:
  // Reads the key file. Throws Error where it cannot be read or has no key. `bound_host` is the
  // address or name that is listened on.
  Access(AccessOptions options, const std::string& bound_host);

  // Reads the key file again. Throws as the constructor does; the keys stay what they were then.
  void ReloadKeys();

  // Throws RequestError (403): a page whose name was made to point at this machine sends its own
  // name as host, and a page of any other origin sends that. Empty: the request has no such header.
  void CheckSource(std::string_view host, std::string_view origin) const;
  // Throws RequestError (401) where keys are asked for and neither header has one. `authorization`
  // is "Bearer KEY".
  void CheckKey(std::string_view authorization, std::string_view x_api_key) const;
  bool asks_for_keys() const { return Keys() != nullptr; }
  // Whether a page of `origin`, of another host, may read answers.
  bool AllowsOrigin(std::string_view origin) const;

 private:
  using KeyList = std::vector<std::string>;
  std::shared_ptr<const KeyList> Keys() const;
  bool AllowsHost(std::string_view host) const;

  const AccessOptions options_;
  const std::string bound_host_;
  mutable std::mutex mutex_;
  std::shared_ptr<const KeyList> keys_;  // null: none are asked for
};

}  // namespace tern

#endif  // TERN_SERVER_ACCESS_H_
