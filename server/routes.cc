#include "server/routes.h"

#include <memory>
#include <string>
#include <string_view>

#include "server/connection.h"
#include "server/page.h"
#include "server/response_codec.h"
#include "server/route_names.h"
#include "server/token_endpoints.h"

namespace tern {
namespace {

using httplib::Request;
using httplib::Response;

GoneCheck CurrentGone() {
  return [connection = Connection::Current()] { return connection->Gone(); };
}

void SetJson(Response& response, const OrderedJson& json) {
  response.set_content(ToText(json), "application/json");
}

void SetPage(Response& response) {
  static const std::string policy = PagePolicy(PageText());
  response.set_header("content-security-policy", policy);
  response.set_header("x-content-type-options", "nosniff");
  response.set_header("referrer-policy", "no-referrer");
  response.set_header("cache-control", "no-cache");  // the next version may have another
  response.set_content(PageText().data(), PageText().size(), "text/html; charset=utf-8");
}

OrderedJson ModelOf(const ServedModel& served) {
  return ModelJson(served.id, served.created, served.max_context);
}

}  // namespace

CompletionService& Routes::service() const {
  CompletionService* service = service_;
  if (service != nullptr) return *service;
  RequestError loading(503, "model_loading", "the model is being loaded; try again soon");
  loading.retry_after_seconds = 1;
  throw loading;
}

void Routes::AddTo(httplib::Server& server) {
  using httplib::Server;
  const auto pure = [this](OrderedJson (*answer)(const ServedModel&, std::string_view)) {
    return [this, answer](const Request& request, Response& response) {
      SetJson(response, answer(service().served(), request.body));
    };
  };
  server.Get(route::kPage, [](const Request&, Response& response) { SetPage(response); });
  server.Get(route::kHealth, [this](const Request&, Response& response) { Health(response); });
  server.Get(route::kMetrics, [this](const Request&, Response& response) { Metrics(response); });
  server.Get(route::kProps, [this](const Request&, Response& response) {
    SetJson(response, PropsJson(service().served(), service().parallel()));
  });
  server.Get(route::kModels, [this](const Request&, Response& response) {
    SetJson(response,
            {{"object", "list"}, {"data", OrderedJson::array({ModelOf(service().served())})}});
  });
  server.Get(std::string(route::kModels) + "/(.+)",
             [this](const Request& request, Response& response) {
               service().CheckModel(request.matches[1], "model");
               SetJson(response, ModelOf(service().served()));
             });
  server.Post(route::kTokenize, pure(TokenizeJson));
  server.Post(route::kDetokenize, pure(DetokenizeJson));
  server.Post(route::kApplyTemplate, pure(ApplyTemplateJson));
  server.Post(route::kCompletions, [this](const Request& request, Response& response) {
    Generate(Dialect::kCompletion, request, response);
  });
  server.Post(route::kChat, [this](const Request& request, Response& response) {
    Generate(Dialect::kChat, request, response);
  });
}

void Routes::Health(Response& response) const {
  const CompletionService* service = service_;
  if (service == nullptr) {
    response.status = 503;
    SetJson(response, {{"status", "loading"}});
    return;
  }
  const ComputeThread::Load load = service->load();
  SetJson(response, {{"status", "ok"}, {"running", load.running}, {"queued", load.queued}});
}

void Routes::Metrics(Response& response) const {
  const CompletionService* service = service_;
  const ComputeThread::Load load = service == nullptr ? ComputeThread::Load() : service->load();
  response.set_content(metrics_.Text(load.running, load.queued),
                       "text/plain; version=0.0.4; charset=utf-8");
}

void Routes::Generate(Dialect dialect, const Request& request, Response& response) const {
  const std::shared_ptr<Exchange> exchange = service().Begin(dialect, request.body);
  if (!exchange->stream()) {
    response.set_content(exchange->Whole(CurrentGone()), "application/json");
    return;
  }
  response.set_header("cache-control", "no-cache");
  response.set_header("x-accel-buffering", "no");  // proxies pass events on at once
  response.set_chunked_content_provider(
      "text/event-stream", [exchange](size_t, httplib::DataSink& sink) {
        const Writer write = [&sink](std::string_view bytes) {
          // An empty chunk would end the stream.
          return bytes.empty() || sink.write(bytes.data(), bytes.size());
        };
        if (!exchange->Stream(write, CurrentGone())) return false;
        sink.done();
        return true;
      });
}

}  // namespace tern
