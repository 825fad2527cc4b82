class Server:
    def __init__(self, rig):
        pass

    def start(self):
        pass

    def stop(self):
        pass
