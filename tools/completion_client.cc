#include "tools/completion_client.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "engine/error.h"
#include "engine/json_text.h"
#include "tools/http_request.h"

namespace tern {
namespace {

using nlohmann::json;

constexpr size_t kMostBytes = size_t{64} << 20;  // of an answer

// The first line of what a server says about an error, or the start of it.
std::string ServersWords(const std::string& body) {
  const json answer = ParseJson<json>(body);
  std::string words = body;
  if (answer.is_object() && answer.contains("error")) {
    const json& error = answer["error"];
    const json message = error.is_object() ? error.value("message", json()) : error;
    if (message.is_string()) words = message.get<std::string>();
  }
  words = words.substr(0, std::min<size_t>(300, words.find('\n')));
  std::ranges::replace_if(
      words, [](char c) { return static_cast<unsigned char>(c) < 32; }, ' ');
  return words;
}

json Request(const CompletionServer& server, const CompletionSampling& sampling) {
  json request = {{"model", server.model},
                  {"max_tokens", sampling.max_tokens},
                  {"temperature", sampling.temperature}};
  if (sampling.top_p < 1) request["top_p"] = sampling.top_p;
  if (sampling.temperature > 0) request["seed"] = sampling.seed;
  return request;
}

// `key`: where a choice has its text.
Completion ReadChoice(const std::string& url, const std::string& body, const std::string& key) {
  const json answer = ParseJson<json>(body);
  const auto bad = [&](const std::string& what) {
    return BadFile({url, what, "an answer as OpenAI's API has it", "something else",
                    "check that --url is such a server"});
  };
  try {
    const json& choice = answer.at("choices").at(0);
    const json& text = key == "text" ? choice.at("text") : choice.at("message").at("content");
    const json reason = choice.value("finish_reason", json());
    if (!text.is_string() && !text.is_null()) throw bad(key);
    return {text.is_null() ? "" : text.get<std::string>(), reason == "stop"};
  } catch (const json::exception&) {
    throw bad("answer");
  }
}

}  // namespace

CompletionClient::CompletionClient(CompletionServer server) : server_(std::move(server)) {
  std::string& url = server_.url;
  if (!url.starts_with("http://") && !url.starts_with("https://")) {
    throw InvalidArgument("--url is " + url +
                          ", expected an address as http://127.0.0.1:8080/v1, http or https");
  }
  while (url.ends_with('/')) url.pop_back();
  if (url.find('/', url.find("://") + 3) == std::string::npos) url += "/v1";
}

std::string CompletionClient::Ask(const std::string& path, const std::string& body) const {
  HttpRequest request{.url = server_.url + path, .bearer = server_.key};
  if (!body.empty()) request.json = body;
  request.stall_seconds = server_.stall_seconds;
  request.stop = server_.stop;
  for (int attempt = 0;; ++attempt) {
    std::string answer;
    const HttpOutcome outcome = PerformHttp(request, [&](long, const char* data, size_t size) {
      answer.append(data, size);
      return answer.size() <= kMostBytes;
    });
    if (outcome.status == kHttpOk && outcome.complete) return answer;
    const bool stopped = server_.stop != nullptr && server_.stop->load();
    const bool again = HttpMayPass(outcome.status) || outcome.status == kHttpOk;
    if (again && attempt < server_.retries && !stopped) {
      std::this_thread::sleep_for(
          std::chrono::milliseconds(HttpBackOff(server_.first_wait_ms, attempt)));
      continue;
    }
    const std::string what =
        request.url + ": " +
        (outcome.status == 0 ? "no answer" : "status " + std::to_string(outcome.status)) + ": " +
        (outcome.complete ? ServersWords(answer) : outcome.reason);
    if (again) {
      throw Error(Error::Kind::kInternal,
                  what + "; try again later, the same command goes on where it stopped");
    }
    const bool closed = outcome.status == 401 || outcome.status == 403;
    throw InvalidArgument(what + (closed ? "; set OPENAI_API_KEY to a key of this server"
                                         : "; check --url, --url-model and the options"));
  }
}

void CompletionClient::ChooseModel() {
  if (!server_.model.empty()) return;
  const json answer = ParseJson<json>(Ask("/models", ""));
  try {
    server_.model = answer.at("data").at(0).at("id").get<std::string>();
  } catch (const json::exception&) {
    throw BadFile({server_.url + "/models", "answer", "a list of models", "something else",
                   "name one with --url-model"});
  }
}

Completion CompletionClient::Continue(const std::string& prompt,
                                      const CompletionSampling& sampling) const {
  json request = Request(server_, sampling);
  request["prompt"] = prompt;
  return ReadChoice(server_.url + "/completions", Ask("/completions", request.dump()), "text");
}

Completion CompletionClient::Chat(std::span<const ChatMessage> messages,
                                  const CompletionSampling& sampling) const {
  json request = Request(server_, sampling);
  json& said = request["messages"] = json::array();
  for (const ChatMessage& message : messages)
    said.push_back({{"role", message.role}, {"content", message.content}});
  return ReadChoice(server_.url + "/chat/completions", Ask("/chat/completions", request.dump()),
                    "content");
}

}  // namespace tern
