# A page of Rack 2, which reads X-Forwarded-* and not Forwarded: ruby forwarded.rb PORT
require "rack"
require "rack/handler/webrick"

app = lambda do |env|
  request = Rack::Request.new(env)
  if request.ssl?
    [200, {"Content-Type" => "text/plain"}, ["#{request.scheme} #{request.ip}"]]
  else
    [308, {"Location" => "https://#{request.host_with_port}#{request.path}"}, []]
  end
end
Rack::Handler::WEBrick.run(app, Host: "127.0.0.1", Port: ARGV[0].to_i, AccessLog: [])
