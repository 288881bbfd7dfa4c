// The chat page without a browser: how it is served, that it asks for nothing outside, that its
// script parses; and the steps of a stream, which it colours. page.mjs runs it in a browser.
#include "server/page.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>
#include <string>

#include "tests/support/run_program.h"
#include "tests/support/test_server.h"

namespace tern {
namespace {

using nlohmann::json;

// What stands between the first <name> and </name>.
std::string Inside(const std::string& page, const std::string& name) {
  const size_t begin = page.find("<" + name + ">") + name.size() + 2;
  return page.substr(begin, page.find("</" + name + ">") - begin);
}

TEST(Page, IsServedWithAStrictPolicy) {
  TestServer server;
  const HttpAnswer answer = HttpClient(server.port()).Get("/");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, PageText());
  EXPECT_EQ(answer.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(answer.headers.at("referrer-policy"), "no-referrer");
  EXPECT_EQ(answer.headers.at("cache-control"), "no-cache");
  EXPECT_FALSE(answer.headers.at("x-request-id").empty());
  const std::string& policy = answer.headers.at("content-security-policy");
  EXPECT_EQ(policy, PagePolicy(answer.body));
  EXPECT_TRUE(policy.starts_with("default-src 'none'; script-src 'sha256-")) << policy;
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
}

// The digest of "abc" is FIPS 180-4's example.
TEST(Page, ThePolicyNamesWhatStandsInThePage) {
  EXPECT_EQ(PagePolicy("<style>abc</style><p><script>abc</script>"),
            "default-src 'none'; script-src 'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='; "
            "style-src 'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
  EXPECT_TRUE(
      PagePolicy("").starts_with("default-src 'none'; script-src 'none'; style-src 'none'"));
}

TEST(Page, RefersToNothingOutside) {
  const std::string page(PageText());
  EXPECT_EQ(page.find("://"), std::string::npos);
  EXPECT_EQ(page.find("url("), std::string::npos);
  EXPECT_EQ(page.find("@import"), std::string::npos);
  EXPECT_EQ(page.find("@TERN_"), std::string::npos);  // a part that CMake did not fill in
  const std::regex reference("(src|href)=\"([^\"]*)\"");
  for (std::sregex_iterator at(page.begin(), page.end(), reference), end; at != end; ++at)
    EXPECT_EQ((*at)[2], "data:,");
  // Handlers and styles in attributes are against the policy.
  EXPECT_FALSE(std::regex_search(page, std::regex("<[a-z][^>]* (on[a-z]+|style)=")));
}

// Texts of users and models must never be read as markup.
TEST(Page, NeverMakesMarkupOfText) {
  const std::string script = Inside(std::string(PageText()), "script");
  for (const char* name : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write",
                           "eval(", "Function(", "DOMParser", "createContextualFragment"})
    EXPECT_EQ(script.find(name), std::string::npos) << name;
}

TEST(Page, ItsScriptParses) {
  if (std::system("node --version >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "no node here: the page's script is not parsed";
  const TempDir dir;
  const std::string file = dir.Write("page.js", Inside(std::string(PageText()), "script"));
  const ProgramResult result = RunProgram({"/usr/bin/env", "node", "--check", file});
  EXPECT_EQ(result.status, 0) << result.err;
}

// What the page colours. Steps and ids of a chunk belong together.
TEST(Page, ChunksTellTheStepsThatGaveTheirTokens) {
  TestServer server;
  const auto steps = [&](const char* mode) {
    const HttpAnswer answer = server.Post(kCompletions, {{"prompt", "abcabcabcabc"},
                                                         {"max_tokens", 60},
                                                         {"ignore_eos", true},
                                                         {"seed", 1},
                                                         {"stream", true},
                                                         {"return_token_ids", true},
                                                         {"speculation", {{"mode", mode}}}});
    json all = json::array();
    json timings;
    for (const std::string& data : SseData(answer.body)) {
      if (data == "[DONE]") continue;
      const json chunk = json::parse(data);
      if (chunk.contains("timings")) timings = chunk["timings"];
      const json& choice = chunk.at("choices").at(0);
      int64_t tokens = 0;
      for (const json& step : choice.at("steps")) {
        tokens += step.at("tokens").get<int64_t>();
        all.push_back(step);
      }
      EXPECT_EQ(tokens, choice.at("token_ids").size()) << data;
    }
    int64_t tokens = 0, drafted = 0, verifies = 0;
    for (const json& step : all) {
      tokens += step.at("tokens").get<int64_t>();
      drafted += step.at("drafted").get<int64_t>();
      verifies += step.at("drafted") > 0 ? 1 : 0;
    }
    EXPECT_EQ(tokens, 60);
    EXPECT_EQ(all.size(), timings.at("steps").get<size_t>() + 1);  // and the prompt's
    EXPECT_EQ(drafted, timings.at("drafted"));
    EXPECT_EQ(verifies, timings.at("verify_steps"));
    return drafted;
  };
  EXPECT_EQ(steps("off"), 0);
  EXPECT_GT(steps("ngram"), 0);
}

TEST(Page, NeedsNoKey) {
  ServerMetrics metrics;
  HttpOptions options{.port = 0, .connections = 2};
  options.access.api_keys = {"a-key-of-a-test"};
  HttpServer http(options, metrics);
  std::thread thread([&] { http.Serve(); });
  EXPECT_EQ(HttpClient(http.port()).Get("/").status, 200);
  EXPECT_EQ(HttpClient(http.port()).Get("/props").status, 401);
  http.Drain();
  thread.join();
}

}  // namespace
}  // namespace tern
