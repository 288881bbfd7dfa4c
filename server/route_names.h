// The paths that the server answers.
#ifndef TERN_SERVER_ROUTE_NAMES_H_
#define TERN_SERVER_ROUTE_NAMES_H_

#include <algorithm>
#include <array>
#include <string_view>

namespace tern {

namespace route {
inline constexpr const char *kPage = "/", *kHealth = "/health", *kMetrics = "/metrics",
                            *kProps = "/props", *kModels = "/v1/models",
                            *kCompletions = "/v1/completions", *kChat = "/v1/chat/completions",
                            *kTokenize = "/tokenize", *kDetokenize = "/detokenize",
                            *kApplyTemplate = "/apply-template";
}  // namespace route

// `path` itself where it is one of them, one name for all models, and "other" for the rest: few
// values, whatever clients ask for.
inline std::string_view RouteName(std::string_view path) {
  constexpr std::array<std::string_view, 10> kAll = {
      route::kPage,       route::kHealth,       route::kMetrics, route::kProps,
      route::kModels,     route::kCompletions,  route::kChat,    route::kTokenize,
      route::kDetokenize, route::kApplyTemplate};
  const auto found = std::ranges::find(kAll, path);
  if (found != kAll.end()) return *found;
  return path.starts_with("/v1/models/") ? "/v1/models/{id}" : "other";
}

}  // namespace tern

#endif  // TERN_SERVER_ROUTE_NAMES_H_
