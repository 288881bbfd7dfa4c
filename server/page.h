// The chat page at /: one HTML file, made of page/ when tern is built.
#ifndef TERN_SERVER_PAGE_H_
#define TERN_SERVER_PAGE_H_

#include <string>
#include <string_view>

namespace tern {

std::string_view PageText();

// The Content-Security-Policy of `page`: its own <style> and <script> elements, by their hashes,
// and requests to where it came from; nothing else. Elements without attributes are meant.
std::string PagePolicy(std::string_view page);

}  // namespace tern

#endif  // TERN_SERVER_PAGE_H_
