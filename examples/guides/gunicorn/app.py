greeting = "hello"


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{greeting} from {environ['PATH_INFO']}\n".encode()]
