# The body of the plugin's block, for "cwtch-plugin test".

listen = "127.0.0.1:9464"
